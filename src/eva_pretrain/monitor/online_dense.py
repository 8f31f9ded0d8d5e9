"""Online score of patch tokens: a linear map from tokens to classes of pixels, fitted at intervals of a training."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eva_core.contracts.checks import pixels_of
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import UsageError
from eva_core.evaluation.holdout import hold_out
from eva_vision.segmentation.contracts import IGNORE, SegmentationDataset
from eva_vision.segmentation.features.tiles import cut, inside
from eva_vision.segmentation.scoring.metrics import counts, over_classes, per_class

_SHARE = 0.25
_RIDGE = 1e-3
_MOST = 16
"""Tiles of an image, spread evenly, so that large images cost no more than others."""


class OnlineDense:
    """Dice of a linear map from patch tokens to classes of pixels, on the train split of a dataset with masks.

    A ridge regression maps tokens to the share of each class in their square; its values are resized to pixels,
    bilinear, and the largest wins. A quarter of the images, by group, is scored, so that val and test are never looked
    at. Images are read once, cut into tiles of the size that the network sees, at most 16 of an image, at their own
    magnification.

    Attributes:
        fitted: Tiles that the map is fitted on, uint8 (N, 3, S, S), and their classes, uint8 (N, S, S).
        scored: Tiles and classes that it is scored on.
        classes: Number of classes.
    """

    def __init__(self, dataset: Dataset, size: int = 224, limit: int = 64, seed: int = 0) -> None:
        """Read the images.

        Args:
            dataset: Images with a class for every pixel.
            size: Side of the images that the network sees, in pixels.
            limit: Largest number of images.
            seed: Seed of the choice.
        Raises:
            UsageError: The dataset has no masks, or too few images, or none as large as `size`.
            EvaError: An image or a mask cannot be read.
        """
        name = dataset.card.name
        if not isinstance(dataset, SegmentationDataset):
            raise UsageError(
                f"Expected a dense_dataset with masks, but {name} is for {dataset.card.task}. Choose another, such as "
                "phantom_nuclei."
            )
        samples = [s for s in dataset.samples if s.split == "train" and dataset.labelled(s)]
        order = np.random.default_rng(seed).permutation(len(samples))[:limit]
        samples = [samples[n] for n in sorted(order)]
        groups = np.array([s.group or s.id for s in samples])
        if len(set(groups)) < 2:
            raise UsageError(f"Expected images of two groups with masks in train of {name}, but got {len(samples)}.")
        out = hold_out(np.zeros(len(samples), dtype=np.int64), groups, _SHARE, seed)
        self.classes, self.background = len(dataset.card.classes), dataset.card.background
        self.fitted, self.scored = (
            _tiles(dataset, [s for s, held in zip(samples, out, strict=True) if held == side], size)
            for side in (False, True)
        )

    def __call__(self, tokens: Callable[[Tensor], Tensor], batch_size: int = 64) -> float:
        """Score a network.

        Args:
            tokens: Maps uint8 images on the CPU (B, 3, S, S) to patch tokens (B, h * w, D) of a square grid, on any
                device; normalises images itself.
            batch_size: Largest B.
        Returns:
            Dice of all scored pixels, mean over classes without the background; NaN where a token is not finite.
        """
        products, targets = torch.zeros(()), torch.zeros(())
        for x, masks in _computed(tokens, self.fitted, batch_size):
            shares, known = _shares(masks, self.classes, math.isqrt(x.shape[1]))
            rows = _with_one(x).flatten(0, 1)[known]
            products, targets = products + rows.T @ rows, targets + rows.T @ shares[known].double()
        if not products.isfinite().all():
            return math.nan
        weights = _ridge(products, targets)
        table = np.zeros((3, self.classes), dtype=np.int64)
        for x, masks in _computed(tokens, self.scored, batch_size):
            if not x.isfinite().all():
                return math.nan
            maps = (_with_one(x) @ weights).mT.unflatten(2, [math.isqrt(x.shape[1])] * 2)  # (B, C, h, w)
            for values, target in zip(maps, masks, strict=True):
                whole = F.interpolate(values[None], size=target.shape, mode="bilinear")[0].argmax(0)
                table += counts(whole.numpy(), target.numpy(), self.classes)
        return float(over_classes(per_class(table, "ignore")[0], self.background))


def _tiles(dataset: SegmentationDataset, samples: Sequence[Sample], size: int) -> tuple[Tensor, Tensor]:
    """Read images uint8 (N, 3, size, size) and classes uint8 (N, size, size), cut from larger ones."""
    images, masks = [], []
    for sample in samples:
        pixels, mask = pixels_of(dataset, sample), dataset.mask(sample)
        places = inside(mask.shape[0], mask.shape[1], size)
        few = np.linspace(0, len(places) - 1, min(_MOST, len(places))).round().astype(int)
        for y, x in (places[n] for n in few):
            images.append(torch.from_numpy(cut(pixels, y, x, size)).permute(2, 0, 1))
            masks.append(torch.from_numpy(cut(mask, y, x, size)))
    if not images:
        raise UsageError(
            f"Expected images of at least {size} px in {dataset.card.name}, but there are none. Choose another "
            "dense_dataset, or a smaller vit.size."
        )
    return torch.stack(images), torch.stack(masks)


@torch.no_grad()
def _computed(
    tokens: Callable[[Tensor], Tensor], tiles: tuple[Tensor, Tensor], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Compute the tokens of tiles, (B, h * w, D) float64, with their classes, in batches: all would be gigabytes."""
    for images, masks in zip(*(torch.split(part, batch_size) for part in tiles), strict=True):
        yield tokens(images).float().cpu().double(), masks


def _shares(masks: Tensor, classes: int, side: int) -> tuple[Tensor, Tensor]:
    """Share of each class per token, (N * side^2, C), and whether most of its square has one, (N * side^2,)."""
    each = torch.stack([(masks == label).float() for label in range(classes)], 1)  # (N, C, S, S)
    shares = F.adaptive_avg_pool2d(each, side).flatten(2).mT.flatten(0, 1)
    known = F.adaptive_avg_pool2d((masks != IGNORE).float()[:, None], side).flatten() > 0.5
    return shares, known


def _ridge(products: Tensor, targets: Tensor) -> Tensor:
    """Weights (D + 1, C) of the ridge regression of x (N, D + 1), whose last column is 1, to y (N, C).

    The penalty is that of standardised columns, none for the constant. At least one row is needed.

    Args:
        products: x.T @ x in float64.
        targets: x.T @ y in float64.
    """
    n = products[-1, -1]
    mean, mean_target = products[-1, :-1] / n, targets[-1] / n
    covariance = products[:-1, :-1] / n - mean[:, None] * mean
    std = covariance.diagonal().clamp(min=1e-12).sqrt()
    with_target = targets[:-1] / n - mean[:, None] * mean_target
    penalty = _RIDGE * torch.eye(len(mean), dtype=torch.float64)
    slopes = torch.linalg.solve(covariance / std / std[:, None] + penalty, with_target / std[:, None]) / std[:, None]
    return torch.cat([slopes, (mean_target - mean @ slopes)[None]])


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(*x.shape[:-1], 1)], dim=-1)
