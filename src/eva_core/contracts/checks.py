"""What datasets and models give, held to what `eva_core.contracts` asks of them: plugins may give anything."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
from torch import Tensor

from eva_core.contracts.backbone import Backbone
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import EvaError, UsageError, some

SPLITS = ("train", "val", "test", "cv", "new")


def pixels_of(dataset: Dataset, sample: Sample) -> np.ndarray:
    """The image of a sample: uint8 RGB, (H, W, 3).

    Raises:
        EvaError: The dataset gives something else; floats in 0-1, say, would pass a model as black.
    """
    image: Any = dataset.image(sample)
    if not (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and image.size
    ):
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise EvaError(f"Expected uint8 RGB (H, W, 3) from {type(dataset).__name__}.image, but got {got}")
    return image


def refuse_wrong_samples(dataset: Dataset) -> None:
    """Refuse samples that would be left out or mixed up.

    Raises:
        UsageError: An id stands twice, or a split is none of ours.
    """
    name = dataset.card.name
    twice = [id for id, n in Counter(s.id for s in dataset.samples).items() if n > 1]
    if twice:
        raise UsageError(f"Expected each id of dataset {name!r} once, but {some(twice)} stand twice. Make them unique.")
    strange = sorted({repr(s.split) for s in dataset.samples if s.split not in SPLITS})
    if strange:
        raise UsageError(
            f"Expected splits {', '.join(SPLITS)} in dataset {name!r}, but got {some(strange)}. Rename them."
        )


def crossing_line(dataset: Dataset) -> str | None:
    """Say which groups are in several splits; None where none is."""
    splits = defaultdict(set)
    for sample in dataset.samples:
        if sample.group is not None and sample.split != "new":
            splits[sample.group].add(sample.split)
    crossing = [f"{group} ({', '.join(sorted(names))})" for group, names in splits.items() if len(names) > 1]
    if not crossing:
        return None
    return (
        f"{len(crossing)} groups of {dataset.card.name} are in several splits, so that scores can be too high: "
        f"{some(sorted(crossing))}."
    )


def refuse_other_than(shape: str, values: Any, images: Tensor, backbone: Backbone) -> None:
    """Refuse what a model gives where it is no tensor of a row for each image.

    Args:
        shape: What was expected, as `(B, D)`.
        values: What the model gave.
        images: What the model was given, (B, 3, H, W).
        backbone: The model.
    Raises:
        EvaError: Says what came.
    """
    sides = shape.count(",") + 1
    if not (isinstance(values, Tensor) and values.ndim == sides and len(values) == len(images) and values.numel()):
        got = tuple(values.shape) if isinstance(values, Tensor) else f"a {type(values).__name__}"
        what = "embeddings" if sides == 2 else "feature maps"
        raise EvaError(
            f"Expected {what} of shape {shape}, but {backbone.card.name} gave {got} for {len(images)} images. "
            "Correct its code."
        )
