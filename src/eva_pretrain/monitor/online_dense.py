"""Online score of patch tokens: a linear map from tokens to classes of pixels, fitted at intervals of a training."""

import math
from collections.abc import Callable, Sequence

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


class OnlineDense:
    """Dice of a linear map from patch tokens to classes of pixels, on the train split of a dataset with masks.

    A ridge regression maps tokens to the share of each class in their square; its values are resized to pixels,
    bilinear, and the largest wins. A quarter of the images, by group, is scored, so that val and test are never looked
    at. Images are read once, cut into tiles of the size that the network sees, at their own magnification.

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
        fitted, scored = (_computed(tokens, images, batch_size) for images, _ in (self.fitted, self.scored))
        if not (fitted.isfinite().all() and scored.isfinite().all()):
            return math.nan
        side = math.isqrt(fitted.shape[1])
        shares, known = _shares(self.fitted[1], self.classes, side)
        mean, std = fitted.mean((0, 1)), fitted.std((0, 1)).clamp(min=1e-6)
        weights = _ridge(((fitted - mean) / std).flatten(0, 1)[known], shares[known])
        found = _with_one((scored - mean) / std) @ weights  # (N, h * w, C)
        maps = found.mT.unflatten(2, (side, side))
        table = np.zeros((3, self.classes), dtype=np.int64)
        for values, target in zip(maps, self.scored[1], strict=True):
            whole = F.interpolate(values[None], size=target.shape, mode="bilinear")[0].argmax(0)
            table += counts(whole.numpy(), target.numpy(), self.classes)
        return float(over_classes(per_class(table, "ignore")[0], self.background))


def _tiles(dataset: SegmentationDataset, samples: Sequence[Sample], size: int) -> tuple[Tensor, Tensor]:
    """Read images uint8 (N, 3, size, size) and classes uint8 (N, size, size), cut from larger ones."""
    images, masks = [], []
    for sample in samples:
        pixels, mask = pixels_of(dataset, sample), dataset.mask(sample)
        for y, x in inside(mask.shape[0], mask.shape[1], size):
            images.append(torch.from_numpy(cut(pixels, y, x, size)).permute(2, 0, 1))
            masks.append(torch.from_numpy(cut(mask, y, x, size)))
    if not images:
        raise UsageError(
            f"Expected images of at least {size} px in {dataset.card.name}, but there are none. Choose another "
            "dense_dataset, or a smaller vit.size."
        )
    return torch.stack(images), torch.stack(masks)


def _computed(tokens: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    with torch.no_grad():
        return torch.cat([tokens(part).float().cpu() for part in torch.split(images, batch_size)])


def _shares(masks: Tensor, classes: int, side: int) -> tuple[Tensor, Tensor]:
    """Share of each class per token, (N * side^2, C), and whether most of its square has one, (N * side^2,)."""
    each = torch.stack([(masks == label).float() for label in range(classes)], 1)  # (N, C, S, S)
    shares = F.adaptive_avg_pool2d(each, side).flatten(2).mT.flatten(0, 1)
    known = F.adaptive_avg_pool2d((masks != IGNORE).float()[:, None], side).flatten() > 0.5
    return shares, known


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    """Weights (D + 1, C) of the ridge regression from x (N, D), standardised, to y (N, C)."""
    x, y = _with_one(x).double(), y.double()
    penalty = _RIDGE * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    penalty[-1, -1] = 0  # the constant is free
    weights: Tensor = torch.linalg.solve(x.T @ x + penalty, x.T @ y)
    return weights.float()


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(*x.shape[:-1], 1)], dim=-1)
