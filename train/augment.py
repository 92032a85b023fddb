"""Augmentation: the paper's rotations and flips, and variations of stain, microscope and camera.

A share of the images is varied as widely as other laboratories differ: in the size of the cells, in stain, background,
resolution and noise.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

ANY_TURN = 0.5  # share of images rotated by any angle and resized; the others keep their pixels
SIZE = 0.15  # standard deviations, the first two of logarithms
ASPECT = 0.05
SHIFT = 0.03  # of the image's side
STAIN = 0.15
TINT = 0.07
LIGHT = 0.05
FOCUS = (-0.6, 1.0)  # from sharper to softer

ELSEWHERE = 0.4  # share of images that are varied as other laboratories differ: by the following, beside the above
FIELD = (-0.95, 0.35)  # logarithm of the width that is seen, against the crop's: from cells that fill it to small ones
DYES = 0.18  # standard deviation of what each channel's optical density takes of the others'
WIDE_STAIN = 0.35
WIDE_TINT = 0.25
BACKGROUND = 0.2
COARSE = (140, 95, 65)  # pixels across, each in a quarter of them
NOISE = 0.06


def augment(images: Tensor) -> Tensor:
    """Change each image of a batch at random, as another slide or microscope would.

    Args:
        images: RGB, uint8, (B, H, W, 3).

    Returns:
        RGB, float32, 0 to 255, (B, H, W, 3).
    """
    elsewhere = torch.rand(len(images)) < ELSEWHERE
    return _augment(images, magnify(turns(len(images)), elsewhere), elsewhere)


def augment_with_boxes(images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Likewise, with the box (B, 4) of the cell in each image, in the form of `cartcls.train.models.marzahl`."""
    elsewhere = torch.rand(len(images)) < ELSEWHERE
    matrix = magnify(turns(len(images)), elsewhere)
    return _augment(images, matrix, elsewhere), turn_boxes(boxes, matrix)


def _augment(images: Tensor, matrix: Tensor, elsewhere: Tensor) -> Tensor:
    x = images.permute(0, 3, 1, 2).contiguous().float() / 255
    x = change_focus(coarsen(change_laboratory(change_stain(turn(x, matrix)), elsewhere), elsewhere))
    return (add_noise(x, elsewhere) * 255).permute(0, 2, 3, 1)


def turns(count: int) -> Tensor:
    """Matrices (B, 2, 3) that flip half of the images, rotate all by 0°, 90°, 180° or 270°, and half by any angle.

    The latter are also resized, stretched and shifted. Each maps a place in the new image to one in the old; in both,
    x and y go from −1 to 1.
    """
    freely = (torch.rand(count) < ANY_TURN).float()
    angle = torch.randint(4, (count,)) * (math.pi / 2) + freely * torch.rand(count) * 2 * math.pi
    size = torch.exp(freely * torch.randn(count) * SIZE)
    aspect = torch.exp(freely * torch.randn(count) * ASPECT)
    flip = torch.randint(2, (count,)) * 2.0 - 1
    shift = freely[:, None] * torch.randn(count, 2) * SHIFT * 2  # the grid goes from −1 to 1
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return torch.stack(
        [
            torch.stack([cosine * size * aspect * flip, -sine * size * flip, shift[:, 0]], 1),
            torch.stack([sine * size * aspect, cosine * size, shift[:, 1]], 1),
        ],
        1,
    )


def magnify(matrix: Tensor, elsewhere: Tensor) -> Tensor:
    """Those matrices (B, 2, 3) that are `elsewhere` (B) for another magnification, the others as they are."""
    width = torch.exp(elsewhere * torch.empty(len(matrix)).uniform_(*FIELD))
    return torch.cat([matrix[:, :, :2] * width[:, None, None], matrix[:, :, 2:]], 2)


def turn(x: Tensor, matrix: Tensor) -> Tensor:
    """Turn images (B, C, H, W) by matrices (B, 2, 3). Missing pixels at the edge are mirrored."""
    grid = F.affine_grid(matrix.to(x.device), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def turn_boxes(boxes: Tensor, matrix: Tensor) -> Tensor:
    """Boxes (B, 4) around the same cells after `turn`, as far as they are in the image.

    A cell is taken as the ellipse in its box: that of a corner would grow with any other angle than a right one.
    """
    centre, half = boxes[:, :2], (boxes[:, 2:] + 1) / 2  # an image is 2 wide, and half a box is its share wide
    matrix = matrix.to(boxes.device)
    back = torch.linalg.inv(matrix[:, :, :2])  # (B, 2, 2)
    centre = (back * (centre - matrix[:, :, 2])[:, None, :]).sum(2)  # a matrix product may be of half precision
    half = (back * half[:, None, :]).norm(dim=2)
    low, high = (centre - half).clamp(-1, 1), (centre + half).clamp(-1, 1)
    return torch.cat([(low + high) / 2, high - low - 1], 1)


def change_stain(x: Tensor) -> Tensor:
    """Vary the strength and the tint of the stain, and the light, of images (B, 3, H, W) of 0 to 1.

    Stain is proportional to optical density, so intensities are raised to a power; light multiplies them.
    """
    count = len(x)
    density = torch.exp(torch.randn(count, 1, 1, 1) * STAIN + torch.randn(count, 3, 1, 1) * TINT).to(x.device)
    light = torch.exp(torch.randn(count, 1, 1, 1) * LIGHT + torch.randn(count, 3, 1, 1) * LIGHT / 2).to(x.device)
    return (x.clamp(1 / 255, 1) ** density * light).clamp(0, 1)


def change_laboratory(x: Tensor, elsewhere: Tensor) -> Tensor:
    """Give those images (B, 3, H, W) of 0 to 1 that are `elsewhere` (B) other dyes and another background."""
    count, far = len(x), elsewhere.float()[:, None, None, None]
    dyes = (torch.eye(3)[..., None, None] + far[..., None] * torch.randn(count, 3, 3, 1, 1) * DYES).to(x.device)
    wide = torch.exp(far * (torch.randn(count, 1, 1, 1) * WIDE_STAIN + torch.randn(count, 3, 1, 1) * WIDE_TINT))
    background = torch.exp(far * (torch.randn(count, 1, 1, 1) + torch.randn(count, 3, 1, 1)) * BACKGROUND).to(x.device)
    density = -x.clamp(1 / 255, 1).log()
    density = sum(dyes[:, :, channel] * density[:, channel : channel + 1] for channel in range(3)) * wide.to(x.device)
    return (torch.exp(-density) * background).clamp(0, 1)


def coarsen(x: Tensor, elsewhere: Tensor) -> Tensor:
    """Give three quarters of those images (B, C, H, W) that are `elsewhere` (B) the detail of fewer pixels."""
    which = torch.randint(len(COARSE) + 1, (len(x),)) * elsewhere
    height, width = x.shape[2:]
    for number, across in enumerate(COARSE, start=1):
        chosen = torch.nonzero(which == number)[:, 0].to(x.device)
        if len(chosen) and across < width:
            few = F.interpolate(x[chosen], size=(round(across * height / width), across), mode="area")
            x = x.index_copy(0, chosen, F.interpolate(few, size=(height, width), mode="bilinear"))
    return x


def add_noise(x: Tensor, elsewhere: Tensor) -> Tensor:
    """Add a camera's noise to those images (B, C, H, W) of 0 to 1 that are `elsewhere` (B)."""
    strength = (elsewhere * torch.rand(len(x)) * NOISE)[:, None, None, None].to(x.device)
    return (x + torch.randn_like(x) * strength).clamp(0, 1)


def change_focus(x: Tensor) -> Tensor:
    """Soften or sharpen images (B, C, H, W) of 0 to 1."""
    amount = torch.empty(len(x), 1, 1, 1).uniform_(*FOCUS).to(x.device)
    amount = amount * (torch.rand(len(x), 1, 1, 1) < 0.5).to(x.device)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (x + amount * (soft - x)).clamp(0, 1)
