import torch

from cartcls.train.models.base import normalize


def test_normalize_is_imagenets():
    image = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(normalize(image), ((image / 255 - mean) / std).permute(0, 3, 1, 2), atol=1e-5)
