import numpy as np
import onnxruntime
import pytest
import torch

from cartcls.export.onnx_graph import onnx_bytes
from cartcls.train.models.base import normalize
from cartcls.train.models.efficientnet import EfficientNetLite


def test_its_pixels_are_scaled_as_its_own_were():
    model = EfficientNetLite("efficientnet_lite0", 2)
    image = torch.randint(0, 256, (1, 4, 5, 3), dtype=torch.uint8)
    seen = normalize(image) * model.scale + model.shift
    assert torch.allclose(seen, (image.permute(0, 3, 1, 2).float() - 127) / 128, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_it_is_exported_with_maps():
    torch.manual_seed(0)
    model = EfficientNetLite("efficientnet_lite0", 5).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 70, 64, 3), np.uint8)
    session = onnxruntime.InferenceSession(onnx_bytes(model, (64, 70), half=False), providers=["CPUExecutionProvider"])
    logits, cams = map(np.asarray, session.run(["logits", "cams"], {"image": images}))
    with torch.inference_mode():
        assert np.abs(logits - model(normalize(torch.from_numpy(images))).numpy()).max() < 1e-4
    assert np.abs(cams.sum((2, 3)) + model.fc.bias.detach().numpy() - logits).max() < 1e-4
