"""Labels of samples, held to what several labels of an image ask of them: plugins may give anything."""

from collections.abc import Iterable

import numpy as np

from eva_core.contracts.dataset import Dataset
from eva_core.errors import UsageError, some
from eva_vision.multilabel.metrics import POSITIVE

Counts = dict[str, dict[str, tuple[int, int]]]
"""By split and label, how many images have it, and how many are annotated with it."""


def refuse_wrong_labels(dataset: Dataset) -> None:
    """Refuse targets that are not a share of 0 to 1, or NaN, for each label.

    Raises:
        UsageError: Names the first.
    """
    names = dataset.card.classes
    for sample in dataset.samples:
        if sample.target is None:
            continue
        try:
            values = np.asarray(sample.target, np.float64)
        except (TypeError, ValueError):
            values = np.array(None, np.float64)
        if values.shape != (len(names),):
            raise UsageError(
                f"Expected {len(names)} numbers as the labels of {sample.id!r}, as the card names them, but got "
                f"{sample.target!r:.80}. Correct the dataset."
            )
        wrong = np.flatnonzero((values < 0) | (values > 1) | np.isinf(values))
        if len(wrong):
            raise UsageError(
                f"Expected labels from 0 to 1, or NaN where not annotated, but {names[wrong[0]]!r} of {sample.id!r} is "
                f"{values[wrong[0]]:g}. Correct it."
            )


def counted(dataset: Dataset) -> Counts:
    """How many images of each split have a label, and how many are annotated with it."""
    counts: Counts = {}
    for split in dict.fromkeys(sample.split for sample in dataset.samples):
        targets = np.array([s.target for s in dataset.samples if s.split == split and s.target is not None], np.float64)
        targets = targets.reshape(len(targets), len(dataset.card.classes))
        pairs = zip((targets >= POSITIVE).sum(0).tolist(), (~np.isnan(targets)).sum(0).tolist(), strict=True)
        counts[split] = dict(zip(dataset.card.classes, pairs, strict=True))
    return counts


def refuse_unlearnable(counts: Counts, reported: Iterable[str], dataset: str) -> None:
    """Refuse labels that nothing can be learnt of, and splits in which nothing can be told apart.

    Args:
        counts: From `counted`.
        reported: The splits that are scored.
        dataset: Its name, for messages.
    Raises:
        UsageError: Train is not annotated with a label, or a split has no label that some images have and others not.
    """
    unknown = [label for label, (_, annotated) in counts["train"].items() if not annotated]
    if unknown:
        raise UsageError(
            f"Expected images in train of {dataset!r} that are annotated with each label, but none is with "
            f"{some(map(repr, unknown))}. Leave it out, or annotate some."
        )
    for split in ("train", *reported):
        if not any(0 < there < annotated for there, annotated in counts[split].values()):
            raise UsageError(
                f"Expected a label in {split} of {dataset!r} that some images have and others have not, but no label "
                "differs. Add images, or correct the labels."
            )


def one_sided(counts: Counts, split: str) -> list[str]:
    """Labels that no image of a split has, or all have: they have no AUROC and no AUPRC there."""
    return [label for label, (there, annotated) in counts[split].items() if there in (0, annotated)]
