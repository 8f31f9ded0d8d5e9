"""Copies of images whatever their turn: rotated, mirrored, shifted a little, cropped a little, brighter or darker.

Public sets are enlarged so (LC25000 shows each of its 1,250 images twenty times), and a copy of a training image on the
other side of a split is learned by heart. Three steps, each on what the one before leaves: the nearest by numbers that
no turn changes; the greatest correlation over coarse turns; the greatest over fine ones round the best of these.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ALIKE = 0.91
"""Correlation of aligned thumbnails from which they are copies. Among 300 patches of colorectal polyps it finds nine
of ten copies that are turned, mirrored, cropped by a quarter and shifted, and links no two patches."""
_PROMISING = 0.78  # of the coarse correlation
_NEAREST = 64
_COARSE = 16  # side of the thumbnails in the second step
_ROWS = 1024
_MARGIN = 0.94  # of the disc that is compared: a little may move out of the image


def turned_copies(thumbnails: np.ndarray) -> np.ndarray:
    """Pairs of images that are copies of each other: grey thumbnails (N, S * S) -> rows (M, 2), ascending.

    About 10 ms for each image on one core; memory grows with the images, not with their pairs.
    """
    side = round(thumbnails.shape[1] ** 0.5)
    images = torch.from_numpy(np.ascontiguousarray(thumbnails, np.float32)).view(-1, side, side)
    flat = images.flatten(1).std(1, correction=0) < 1  # blank images have no turn
    rows = torch.nonzero(~flat)[:, 0]
    images, coarse = images[rows], min(side, _COARSE)
    if len(rows) < 2:
        return np.empty((0, 2), np.int64)
    small = F.adaptive_avg_pool2d(images[:, None], coarse)[:, 0]
    upright = torch.tensor([[1.0, 0, 1, 0, 0]])
    small_disc, disc = (_normed(_sampled(x, _grid(x.shape[-1], upright))[:, 0]) for x in (small, images))
    turns, steps = _turns()
    templates = _grid(coarse, turns)
    pairs = []
    for row, near in enumerate(_nearest(_unturned(images, disc))):
        near = near[near != row]  # both ways: a crop is found in the whole, not the whole in the crop
        best, turn = (_normed(_sampled(small[row : row + 1], templates)[0]) @ small_disc[near].T).max(0)
        for other, at in zip(near[best > _PROMISING].tolist(), turn[best > _PROMISING].tolist(), strict=True):
            close = turns[at] * torch.tensor([1.0, 1, 0, 1, 1]) + steps
            close[:, 2] *= turns[at, 2]
            aligned = _normed(_sampled(images[row : row + 1], _grid(side, close))[0])
            if (aligned @ disc[other]).max() >= ALIKE:
                pairs.append((min(row, other), max(row, other)))
    return rows.numpy()[np.unique(np.array(pairs, np.int64).reshape(-1, 2), axis=0)]


@lru_cache(1)
def _turns() -> tuple[Tensor, Tensor]:
    """Coarse turns, and fine steps round one, rows of (mirror, angle, zoom, shift x, shift y), shifts in half sides."""
    angles, shifts = torch.arange(36) * (2 * torch.pi / 36), torch.tensor([0.0, 0.06, -0.06])
    coarse = torch.cartesian_prod(torch.tensor([1.0, -1.0]), angles, torch.tensor([1, 1.15, 1.3]), shifts, shifts)
    coarse = coarse[(coarse[:, 3:] != 0).sum(1) < 2]
    angles, shifts = torch.tensor([-5, -2.5, 0, 2.5, 5]).deg2rad(), torch.tensor([-0.04, -0.02, 0, 0.02, 0.04])
    zooms = torch.tensor([0.92, 0.96, 1, 1.04, 1.08])
    return coarse, torch.cartesian_prod(torch.tensor([0.0]), angles, zooms, shifts, shifts)


def _grid(side: int, turns: Tensor) -> Tensor:
    """Where the pixels of the central disc come from: turns (T, 5) -> (T, P, 2) in -1 to 1."""
    centre = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    inside = x.square() + y.square() <= 1
    mirror, angle, zoom, right, down = (column[:, None] for column in turns.T)
    x, y = x[inside] * mirror, y[inside].expand(len(turns), -1)
    cos, sin = angle.cos(), angle.sin()
    scale = _MARGIN / zoom
    return torch.stack([(cos * x - sin * y) * scale + right, (sin * x + cos * y) * scale + down], -1)


def _sampled(images: Tensor, grid: Tensor) -> Tensor:
    """Images (N, S, S) at a grid (T, P, 2) -> (N, T, P), bilinear."""
    parts = [
        F.grid_sample(part[:, None], grid.expand(len(part), *grid.shape), padding_mode="border", align_corners=False)
        for part in images.split(_ROWS)
    ]
    return torch.cat(parts)[:, 0]


def _normed(values: Tensor) -> Tensor:
    """Rows less their mean, of length 1: products are correlations."""
    values = values - values.mean(-1, keepdim=True)
    return F.normalize(values, dim=-1, eps=1e-6)


def _unturned(images: Tensor, disc: Tensor) -> Tensor:
    """Numbers that a turn or a mirror leaves, and a small shift nearly: energy by frequency, and grey levels."""
    side = images.shape[-1]
    window = torch.hann_window(side, periodic=False)
    waves = torch.fft.fft2((images - images.mean((1, 2), keepdim=True)) * window * window[:, None]).abs().square()
    frequency = torch.fft.fftfreq(side) * side
    radius = (frequency.square() + frequency[:, None].square()).sqrt()
    edges = torch.tensor([0.5, 1.5, 2.2, 3, 4, 5.5, 7.5, 10, 14])
    bands = torch.bucketize(radius, edges)
    there = [band for band in range(1, len(edges)) if (bands == band).any()]
    energy = torch.stack([torch.log1p(waves[:, bands == band].mean(1)) for band in there], 1)
    levels = torch.quantile(disc, torch.linspace(0.02, 0.98, 13), dim=1).T
    numbers = torch.cat([energy, levels], 1)
    return (numbers - numbers.mean(0)) / numbers.std(0, correction=0).clamp(min=1e-6)


def _nearest(numbers: Tensor) -> list[Tensor]:
    """Rows of the nearest by Euclidean distance, of every row."""
    count = min(_NEAREST + 1, len(numbers))
    nearest: list[Tensor] = []
    for part in numbers.split(_ROWS):
        nearest += torch.cdist(part, numbers).topk(count, largest=False)[1].unbind()
    return nearest
