"""Augmentation: the paper's rotations and flips, and variations of stain, microscope and camera."""

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


def augment(images: Tensor) -> Tensor:
    """Change each image of a batch at random, as another slide or microscope would.

    Args:
        images: RGB, uint8, (B, H, W, 3).

    Returns:
        RGB, float32, 0 to 255, (B, H, W, 3).
    """
    return _augment(images, turns(len(images)))


def augment_with_boxes(images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Likewise, with the box (B, 4) of the cell in each image, in the form of `cartcls.train.models.marzahl`."""
    matrix = turns(len(images))
    return _augment(images, matrix), turn_boxes(boxes, matrix)


def _augment(images: Tensor, matrix: Tensor) -> Tensor:
    x = images.permute(0, 3, 1, 2).contiguous().float() / 255
    return (change_focus(change_stain(turn(x, matrix))) * 255).permute(0, 2, 3, 1)


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


def change_focus(x: Tensor) -> Tensor:
    """Soften or sharpen images (B, C, H, W) of 0 to 1."""
    amount = torch.empty(len(x), 1, 1, 1).uniform_(*FOCUS).to(x.device)
    amount = amount * (torch.rand(len(x), 1, 1, 1) < 0.5).to(x.device)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (x + amount * (soft - x)).clamp(0, 1)
