"""Classes that nothing can learn, or that are one class by two names: told, or refused where no score has sense."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset
from eva_core.errors import UsageError, some
from eva_core.text import folded

Counts = Mapping[str, Mapping[str, int]]
"""By split and class, how many images or pixels there are."""


def refuse_one_class_by_two_names(classes: Sequence[str], counts: Counts) -> None:
    """Refuse class names that differ by case, spaces, Unicode form or `1` and `01` alone: a slip of the pen.

    Args:
        classes: The names.
        counts: Says where each is.
    Raises:
        UsageError: Names them and their splits.
    """
    names = defaultdict(list)
    for name in classes:
        names[folded(name)].append(name)
    alike = [" = ".join(f"{name!r}{_where(name, counts)}" for name in one) for one in names.values() if len(one) > 1]
    if alike:
        raise UsageError(
            "Expected class names that differ by more than case, spaces or the form of their letters, but got "
            f"{some(alike)}. Write each class in one way."
        )


def untrained(counts: Counts, dataset: str, unit: str = "images") -> dict[str, dict[str, int]]:
    """The classes of each reported split that train lacks, with how many images or pixels they have.

    Args:
        counts: Images or pixels of each class in `train` and the reported splits.
        dataset: Its name, for messages.
        unit: What is counted, for messages.
    Raises:
        UsageError: Train has one class alone, or none of a reported split's: no score has sense.
    """
    taught = {name for name, n in counts["train"].items() if n}
    if len(taught) < 2:
        raise UsageError(
            f"Expected {unit} of at least 2 classes in the train split of {dataset!r}, but all are of "
            f"{some(map(repr, sorted(taught))) or 'none'}. Add others, or correct the labels."
        )
    foreign_by_split = {}
    for split, classes in counts.items():
        there = {name: n for name, n in classes.items() if n}
        foreign = {name: n for name, n in there.items() if name not in taught}
        if foreign and len(foreign) == len(there):
            raise UsageError(
                f"Expected classes of {split} in the train split of {dataset!r}, but train has {some(sorted(taught))}, "
                f"and {split} {some(sorted(there))}. Correct the labels."
            )
        if foreign:
            foreign_by_split[split] = foreign
    return foreign_by_split


def untrained_line(split: str, classes: Mapping[str, int], unit: str = "images") -> str:
    """Say what a score of a split cannot be right about."""
    listed = some(f"{name!r} ({n:,} {unit})" for name, n in classes.items())
    return f"{split} has {listed}, which train lacks: all of these are wrong whatever the model"


def _where(name: str, counts: Counts) -> str:
    splits = [split for split, classes in counts.items() if classes.get(name)]
    return f" ({', '.join(splits)})" if splits else ""


def class_counts(targets: np.ndarray, splits: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many images each class has, by split: targets and splits (N,); samples without a label are left out."""
    counts = {str(split): dict.fromkeys(classes, 0) for split in dict.fromkeys(splits)}
    for split, target in zip(splits[targets >= 0], targets[targets >= 0], strict=True):
        counts[split][classes[target]] += 1
    return counts


def refuse_few_classes(dataset: DatasetCard) -> None:
    """Refuse a dataset in which nothing can be told apart.

    Raises:
        UsageError: There are fewer than two classes.
    """
    if len(dataset.classes) < 2:
        raise UsageError(f"Expected at least 2 classes in {dataset.name!r}, but got {len(dataset.classes)}.")


def refuse_wrong_classes(dataset: Dataset) -> None:
    """Refuse targets that are no number of a class.

    Raises:
        UsageError: Names the first.
    """
    name, classes = dataset.card.name, len(dataset.card.classes)
    for sample in dataset.samples:
        target = sample.target
        if target is not None and not (isinstance(target, int | np.integer) and 0 <= target < classes):
            raise UsageError(
                f"Expected targets of dataset {name!r} as whole numbers from 0 to {classes - 1}, or None where none "
                f"is known, but {sample.id!r} has {target!r}. Correct it."
            )
