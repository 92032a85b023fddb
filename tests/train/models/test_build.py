import subprocess
import sys

import pytest
import torch

from cartcls.train.commands import Arch
from cartcls.train.models.base import normalize
from cartcls.train.models.build import MODELS, build
from cartcls.train.models.marzahl import BOX_HEAD, MARZAHL


def test_the_command_line_offers_every_model():
    assert {arch.value for arch in Arch} == MODELS.keys()


@pytest.mark.parametrize("arch", MODELS)
def test_every_model_classifies_and_learns(arch: str):
    model = build(arch, 5, (64, 70))
    logits = model(normalize(torch.randint(0, 256, (2, 70, 64, 3), dtype=torch.uint8)))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    without = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert all(name.startswith(BOX_HEAD) for name in without)  # it does not see the class
    assert bool(without) == (arch == MARZAHL)


def test_rcmnet_needs_neither_torchvision_nor_timm():
    code = (
        "import sys; sys.modules['torchvision'] = sys.modules['timm'] = None\n"
        "from cartcls.train.models.build import build; build('rcmnet', 2, (64, 64))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
