import torch
from torch.nn import functional as F

from cartcls.train.models.build import build
from cartcls.train.models.ensemble import Ensemble
from cartcls.train.models.rcmnet import RCMNet


def test_the_answer_is_the_mean_of_the_members():
    torch.manual_seed(0)
    members = [RCMNet(3, (2, 2), cbam=True, attention=True).eval() for _ in range(3)]
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        half = F.avg_pool2d(images, 2)
        smaller = F.interpolate(images, (57, 57), mode="bilinear")
        answers = torch.stack([members[0](smaller), members[1](half), members[2](half)])
        ensemble = Ensemble(members)
        assert torch.pdist(answers.flatten(1)).min() > 0.05  # each has its own
        assert torch.allclose(ensemble(images), answers.mean(0), atol=1e-5)


def test_weights_have_the_names_of_the_graphs_that_there_are():
    names = build("rcmnet+efficientnet_lite0", 2, (64, 64)).state_dict().keys()
    assert {"readers.0.conv1.weight", "readers.1.body.conv_stem.weight", "fc.weight", "fc.bias"} <= names
    assert {name for name in names if "fc." in name and "mlp" not in name} == {"fc.weight", "fc.bias"}
