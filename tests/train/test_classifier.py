import pytest
import torch

from cartcls.runtime.bundle.provenance import Provenance
from cartcls.train.classifier import Classifier, select_score

PROVENANCE = Provenance(arch="resnet18", data_sha256={}, split_file="", split_sha256="", split_unit="")
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own


@pytest.mark.parametrize(
    ("worse", "better"),
    [((0, 1.0, 0.01), (1, 0.1, 3.0)), ((1, 0.98, 0.01), (1, 0.99, 99.0)), ((1, 0.99, 0.073), (1, 0.99, 0.068))],
    ids=["stage", "right", "loss"],
)
def test_of_two_epochs_the_later_stage_wins_then_more_right_then_less_loss(
    worse: tuple[int, float, float], better: tuple[int, float, float]
):
    single = torch.tensor([select_score(*epoch, cells=100) for epoch in (worse, better)])  # as Lightning compares them
    assert single[0] < single[1]


def test_each_cell_of_select_counts_alike_whatever_its_batch():
    torch.manual_seed(0)
    classifier = Classifier(["a", "b"], (32, 32), PROVENANCE).eval()
    classifier.log = lambda *args, **kwargs: None
    images, labels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    with torch.inference_mode():
        for part in (slice(0, 3), slice(3, 4)):
            classifier.validation_step((images[part], labels[part]), 0)
        expected = torch.nn.functional.cross_entropy(classifier(images), labels)
    assert classifier.select_loss.compute() == pytest.approx(float(expected), rel=1e-5)
