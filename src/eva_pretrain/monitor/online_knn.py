"""Online kNN: the accuracy of nearest neighbours on a dataset, scored at intervals while a model trains."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from eva_core.config.protocols import load_protocol
from eva_core.contracts.cards import Geometry
from eva_core.contracts.checks import pixels_of
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.contracts.head import Embedded, FittingData
from eva_core.errors import EvaError, UsageError, some
from eva_core.evaluation.holdout import hold_out, near_duplicates
from eva_core.extraction.pixels import signature
from eva_vision.heads.neighbours import Knn
from eva_vision.transforms import resize_and_crop

NEIGHBOURS = 20
"""Number of neighbours, as DINO (Caron et al. 2021) evaluates."""


class OnlineKnn:
    """Balanced accuracy of the 20 nearest neighbours by cosine, on the train and val split of a dataset.

    Checkpoints are selected by this number, so it must not come from the split that is reported at the end: a dataset
    whose val split is the reported one is refused, and a part of train can be held out in its place. Images are read
    once.

    Attributes:
        train: Images uint8 (N, 3, S, S) and targets (N,) of the bank.
        val: Images and targets that are classified, in the same shapes.
        classes: Number of classes.
    """

    def __init__(
        self, dataset: Dataset, size: int = 224, holdout: float | None = None, limit: int = 2000, seed: int = 0
    ) -> None:
        """Read the images.

        Args:
            dataset: Images with classes.
            size: Side of the images that the network sees, in pixels.
            holdout: Share of train that is classified in place of val, by group (patient or slide); by clusters of
                near-duplicates where the dataset has no groups.
            limit: Largest number of images of each part; of more, each class keeps its share.
            seed: Seed of the choice.
        Raises:
            UsageError: The dataset has no val split apart from the reported one, or is not for classification.
            EvaError: An image cannot be read.
        """
        name = dataset.card.name
        if dataset.card.task != "classification":
            raise UsageError(
                f"Expected a dataset for classification, but {name} is for {dataset.card.task}. Choose another."
            )
        labelled = [s for s in dataset.samples if s.target is not None]
        if holdout is None:
            _refuse_reported(dataset)
            parts = [_drawn([s for s in labelled if s.split == split], limit, seed) for split in ("train", "val")]
            samples = [_read(dataset, part, size) for part in parts]
        else:
            inside = [s for s in labelled if s.split == "train"]
            samples = _held_out(dataset, inside, size, holdout, limit, seed)
        for what, (_, targets) in zip(("train", "val"), samples, strict=True):
            classes = len(torch.unique(targets))
            if classes < 2:
                raise UsageError(
                    f"Expected images of two classes in each part of {name}, but {what} has {len(targets)} images of "
                    f"{classes}. Change holdout or limit, or choose another dataset."
                )
        self.train, self.val = samples
        self.classes = len(dataset.card.classes)

    def __call__(self, embed: Callable[[Tensor], Tensor], batch_size: int = 64) -> float:
        """Score a network.

        Args:
            embed: Maps uint8 images on the CPU (B, 3, S, S) to embeddings (B, D) on any device; normalises them itself.
            batch_size: Largest B.
        Returns:
            Balanced accuracy; NaN where an embedding is not finite.
        """
        train, val = (
            Embedded(torch.cat([_embedded(embed, part) for part in torch.split(images, batch_size)]), targets)
            for images, targets in (self.train, self.val)
        )
        if not (train.x.isfinite().all() and val.x.isfinite().all()):
            return math.nan
        (run,) = Knn((NEIGHBOURS,)).fit(FittingData(train, val, self.classes), load_protocol("eva-0.4"))
        return run.selected_value


def _embedded(embed: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    with torch.no_grad():
        return embed(images).float().cpu()


def _refuse_reported(dataset: Dataset) -> None:
    """Refuse a dataset without a val split, or whose val split is the one that `eva fit` reports."""
    splits = {s.split for s in dataset.samples}
    if {"train", "val", "test"} <= splits and dataset.card.main_split != "val":
        return
    has = f"it has {some(sorted(splits))}" + (", of which val is reported" if "val" in splits else "")
    raise UsageError(
        f"Expected a val split of its own in {dataset.card.name}, but {has}. What is reported is never looked at: "
        "set holdout, such as 0.2, for a share of train by group."
    )


def _drawn(samples: Sequence[Sample], limit: int, seed: int) -> list[Sample]:
    """Draw at most `limit` samples, in their order: of each class its share, and at least one where there is room."""
    targets = np.array([s.target for s in samples])
    order = np.random.default_rng(seed).permutation(len(samples))
    place = np.empty(len(samples))
    for label in np.unique(targets):
        members = order[targets[order] == label]
        place[members] = np.arange(len(members)) / len(members)  # from 0 for the first of each class, below 1
    chosen = order[np.argsort(place[order], kind="stable")][:limit]
    return [samples[n] for n in np.sort(chosen)]


def _held_out(
    dataset: Dataset, samples: list[Sample], size: int, share: float, limit: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Split train by group into images to compare with and images to classify, each with targets."""
    if not samples:
        raise UsageError(f"Expected labelled images in the train split of {dataset.card.name}, but it has none.")
    grouped = any(s.group for s in samples)
    if grouped:
        held_out = _hold_out(samples, np.array([s.group or s.id for s in samples]), share, seed)
        sides = ([s for s, out in zip(samples, held_out, strict=True) if out == side] for side in (False, True))
        return [_read(dataset, _drawn(side, limit, seed), size) for side in sides]
    # without groups, images are compared: as many as give the larger part `limit` of them
    samples = _drawn(samples, math.ceil(limit / max(share, 1 - share)), seed)
    signatures: list[np.ndarray] = []
    images, targets = _read(dataset, samples, size, signatures)
    out = torch.from_numpy(_hold_out(samples, near_duplicates(np.stack(signatures)), share, seed))
    return [(images[rows], targets[rows]) for rows in (~out, out)]


def _hold_out(samples: Sequence[Sample], groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    return hold_out(np.array([s.target for s in samples]), groups, share, seed)


def _read(
    dataset: Dataset, samples: Sequence[Sample], size: int, signatures: list[np.ndarray] | None = None
) -> tuple[Tensor, Tensor]:
    """Read images uint8 (N, 3, size, size) and targets (N,); their thumbnails are added to `signatures`."""
    transform = resize_and_crop(Geometry(size, size))
    images = torch.empty(len(samples), 3, size, size, dtype=torch.uint8)
    for n, sample in enumerate(samples):
        try:
            pixels = pixels_of(dataset, sample)
        except OSError as error:
            reason = " ".join(str(error).split())
            raise EvaError(
                f"Expected an image, but {sample.id} of {dataset.card.name} does not read ({reason}). Replace it."
            ) from error
        images[n] = transform(pixels)
        if signatures is not None:
            signatures.append(signature(pixels))
    return images, torch.tensor([s.target for s in samples], dtype=torch.int64)
