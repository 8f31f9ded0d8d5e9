"""Masks of the patches that the student does not see: blocks of random size, aspect and place.

Source: Bao et al. 2022 (BEiT), algorithm 1; numbers of DINOv2 (facebookresearch/dinov2 @ b8931f7, data/masking.py and
data/collate.py).
"""

import math
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TRIES = 10
"""Number of blocks that are drawn before we give up finding one that fits."""


def block_mask(
    height: int,
    width: int,
    count: int,
    rng: Random,
    *,
    most: int,
    least: int = 4,
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> NDArray[np.bool_]:
    """Mask blocks until `count` patches are masked or no block fits; never more, at least one unless count is 0.

    Args:
        height: Height of the grid, in patches.
        width: Width of the grid, in patches.
        count: Number of patches to mask.
        rng: Source of all random numbers.
        most: Largest area of a block, in patches; never more than are left to mask.
        least: Smallest area of a block, in patches. Near the end, where fewer are left, areas are drawn between the two
            all the same, and a block that is too large does not fit.
        aspect: Range of height / width of a block, uniform on a log scale.

    Returns:
        True where masked, (height, width).
    """
    mask = np.zeros((height, width), np.bool_)
    low, high = math.log(aspect[0]), math.log(aspect[1])
    left, tries = count, 0
    while left > 0 and tries < _TRIES:
        tries += 1
        area = rng.uniform(least, min(left, most))
        ratio = math.exp(rng.uniform(low, high))
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if h >= height or w >= width:
            continue
        y, x = rng.randint(0, height - h), rng.randint(0, width - w)
        block = mask[y : y + h, x : x + w]
        new = h * w - int(np.count_nonzero(block))
        if 0 < new <= min(left, most):
            block[:] = True
            left, tries = left - new, 0
    if left == count > 0:  # a grid of few patches
        mask.flat[rng.randrange(mask.size)] = True
    return mask


def masks(
    crops: int, grid: tuple[int, int], share: float = 0.5, ratio: tuple[float, float] = (0.1, 0.5), *, rng: Random
) -> Tensor:
    """Draw the masks of a batch: a share of the crops is masked, by ratios spread evenly over a range, in random order.

    Args:
        crops: Number of global crops of the batch.
        grid: Height and width of a crop in patches.
        share: Share of the crops that are masked at all, rounded down.
        ratio: Least and greatest share of masked patches in a masked crop; each crop has a ratio from a stratum of its
            own. Blocks are at most half of the grid.
        rng: Source of all random numbers.

    Returns:
        True where masked, bool (crops, height * width) on the CPU; at least one patch in a masked crop.
    """
    height, width = grid
    masked = int(crops * share)
    edges = np.linspace(*ratio, masked + 1).tolist()
    drawn = np.zeros((crops, height, width), np.bool_)
    for i in range(masked):
        count = max(1, int(height * width * rng.uniform(edges[i], edges[i + 1])))
        drawn[i] = block_mask(height, width, count, rng, most=max(1, height * width // 2))
    order = list(range(crops))
    rng.shuffle(order)
    return torch.from_numpy(drawn[order].reshape(crops, height * width))
