import pytest
import torch

from cartcls.train.callbacks import EMA_DECAY, exponential_average


def test_averaged_weights_forget_how_they_began():
    average = torch.tensor(100.0)
    for step in range(1, 200):
        average = exponential_average(average, torch.tensor(1.0), step)
    assert average == pytest.approx(1.0, abs=0.01)
    moved = exponential_average(torch.tensor(0.0), torch.tensor(1.0), 10**6)
    assert float(moved) == pytest.approx(1 - EMA_DECAY, rel=1e-4)
