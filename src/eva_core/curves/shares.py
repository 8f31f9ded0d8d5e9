"""Which samples of train a share has: whole groups, each class among them, smaller shares within larger ones."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from eva_core.errors import UsageError
from eva_core.store.store import Samples

Store = TypeVar("Store", bound=Samples)

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
NOT_DRAWN = "not drawn"


@dataclass(frozen=True)
class Train:
    """The samples of train that can be read, in the order of the store.

    Attributes:
        rows: Their numbers in the store, (N,).
        targets: Class of each, or 0 where targets are no classes, (N,).
        groups: Patient or slide of each; its own id where none is known, (N,).
        grouped: Whether any patient or slide is known.
    """

    rows: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    grouped: bool

    def counts(self, drawn: np.ndarray) -> tuple[int, int | None]:
        """How many samples and how many groups are drawn, (N,) of bool; None where no group is known."""
        return int(drawn.sum()), len(np.unique(self.groups[drawn])) if self.grouped else None


def train_of(store: Samples, dataset: str) -> Train:
    """The samples of train of a store.

    Raises:
        UsageError: There are none: samples are cross-validated, or cannot be read.
    """
    rows = store.rows("train")
    if not len(rows):
        raise UsageError(
            f"Expected a train split in dataset {dataset!r} to take shares of, but it has none. Name one: where "
            "samples are cross-validated, each fold learns from another part."
        )
    groups, targets = store.groups[rows], store.targets[rows]
    grouped = bool((groups != "").any())
    if targets.dtype.kind != "i" or targets.ndim > 1:  # numbers are no strata
        targets = np.zeros(len(rows), np.int64)
    return Train(rows, targets, np.where(groups == "", store.ids[rows], groups), grouped)


def drawn(train: Train, shares: Sequence[float], seed: int, draw: int) -> list[np.ndarray]:
    """Draw the samples of each share: the groups come in one order, of which a share is the beginning.

    It ends where the number of samples is nearest to the share of them, and never before each class is there: with
    few groups a small share is larger than its name.

    Args:
        train: What is drawn from.
        shares: Above 0 and at most 1.
        seed: Seed of the protocol.
        draw: Number of the draw; the order depends on `seed`, this number and the names of the groups alone.
    Returns:
        For each share, whether each sample is drawn, (N,).
    """
    _, group = np.unique(train.groups, return_inverse=True)
    classes = np.unique(train.targets, return_inverse=True)[1]
    counts = np.zeros((group.max() + 1, classes.max() + 1), np.int64)
    np.add.at(counts, (group, classes), 1)
    order, least = drawing_order(counts, np.random.default_rng([seed, draw]))
    ends = counts[order].sum(1).cumsum()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    parts = []
    for share in shares:
        nearest = int(np.abs(ends - share * len(group)).argmin()) + 1
        parts.append(place[group] < max(nearest, least))
    return parts


def drawing_order(counts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """An order of groups whose beginnings have the classes in about the proportions of the whole.

    Groups are shuffled within strata, those of the rarest class that each has, and the strata are merged evenly, as
    by systematic sampling (Cochran, Sampling Techniques, 1977, chapter 8). The first to have a class come first.

    Args:
        counts: Samples of each class in each group, (G, C); each group and each class has some.
        rng: Source of the order.
    Returns:
        The groups in their order, (G,), and how many of them it takes until each class is there.
    """
    has = counts > 0
    stratum = np.where(has, has.sum(0), len(counts) + 1).argmin(1)
    at = np.empty(len(counts))
    for number in np.unique(stratum):
        members = np.flatnonzero(stratum == number)
        at[rng.permutation(members)] = (np.arange(len(members)) + rng.random()) / len(members)
    order = np.argsort(at, kind="stable")
    firsts = np.unique(has[order].argmax(0))  # of each class, the first group that has it
    chosen: list[int] = []
    for place in firsts.tolist():
        if (has[order[place]] & ~has[order[chosen]].any(0)).any():
            chosen.append(place)
    return np.concatenate([order[chosen], np.delete(order, chosen)]), len(chosen)


def restricted(store: Store, train: Train, drawn: np.ndarray) -> Store:
    """The same store, open, with the drawn samples of train as its train split; the reported splits stay.

    Args:
        store: The whole.
        train: From `train_of`.
        drawn: Whether each sample of train is drawn, (N,).
    """
    part = copy.copy(store)
    splits = store.splits.astype(object)
    splits[train.rows[~drawn]] = NOT_DRAWN
    part.splits = splits
    return part
