"""Which samples teach, which select, which are reported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset
from eva_core.contracts.metric import Metric, recorded
from eva_core.contracts.protocol import Protocol
from eva_core.contracts.results import Cost, SplitRecord, Summary
from eva_core.errors import UsageError, some
from eva_core.evaluation.holdout import divide_single_groups, hold_out, near_duplicates
from eva_core.store.store import Samples

HELD_OUT = ("val", "test")
CROSS_VALIDATED = "cv"
"""Split of the samples of a dataset that gives none, for kinds of task that make folds of them."""


@dataclass(frozen=True)
class Plan:
    """Which samples of the store teach, which select, which splits are reported."""

    train: np.ndarray
    select: np.ndarray
    reported: tuple[str, ...]
    main: str
    selected_on: str
    selection: str


def refuse_unfit(dataset: Dataset, unlabelled: Sequence[str], what: str) -> None:
    """Refuse a dataset that cannot be learnt from, before anything is extracted.

    Args:
        dataset: Its splits are looked at, where it has samples.
        unlabelled: Ids of the samples without a label.
        what: A label of this task, in a word.
    Raises:
        UsageError: Splits, labels or classes are missing.
    """
    splits = {s.split for s in dataset.samples}
    if splits - {CROSS_VALIDATED}:
        reported_splits(splits, dataset.card)
    if unlabelled:
        raise UsageError(
            f"Expected a {what} for every image, but {len(unlabelled)} have none, first {unlabelled[0]!r}. "
            "Add them, or apply finished heads with `eva predict --head RESULT`."
        )


def summary(plan: Plan, splits: dict[str, SplitRecord], name: str, metric: Metric) -> Summary:
    """The parts of results.json that say what the main score is and how it was selected.

    Args:
        plan: Says which split is the main one, and what selected.
        splits: Record of each reported split.
        name: Name of the main metric.
        metric: Its facts, which whoever reads the result needs.
    """
    main = splits[plan.main]["metrics"][name]
    return {
        "main": {
            "split": plan.main,
            "metric": name,
            **recorded(metric),
            "mean": main["mean"],
            "std": main["std"],
            "ci95": main["ci95"],
            "selected_on": plan.selected_on,
        },
        "selection": plan.selection,
        "splits": splits,
    }


def cost(store: Samples, fit_s: float) -> Cost:
    """Seconds, as results.json holds them."""
    embed_s, images_per_s = (float(store.attributes[name]) for name in ("embed_s", "images_per_s"))
    return {"embed_s": embed_s, "images_per_s": images_per_s, "fit_s": fit_s}


def reported_splits(splits: Iterable[str], dataset: DatasetCard) -> tuple[str, ...]:
    """The held-out splits among those that samples have.

    Raises:
        UsageError: There is none, or nothing to train on.
    """
    there = set(splits)
    reported = tuple(split for split in HELD_OUT if split in there)
    for missing, present in (("a train split", "train" in there), ("a val or test split", reported)):
        if not present:
            raise UsageError(
                f"Expected {missing} in dataset {dataset.name!r}, but it has {some(sorted(there)) or 'none'}."
            )
    return reported


def make_plan(
    store: Samples,
    protocol: Protocol,
    dataset: DatasetCard,
    stratified: bool = False,
    strata: np.ndarray | None = None,
) -> Plan:
    """Divide the rows as the protocol says.

    Args:
        store: Rows with split, group and target.
        protocol: Says how heads are selected.
        dataset: Card of the dataset.
        stratified: Targets are class numbers, of which a hold-out needs some of each.
        strata: What else a hold-out has some of each of, where it can: numbers of the rows of train, ascending rows.
    Raises:
        UsageError: The dataset lacks a split, or has too few groups to hold some out.
    """
    train = store.rows("train")
    reported = reported_splits(store.splits[store.readable], dataset)
    main = dataset.main_split or reported[-1]
    if main not in reported:
        raise UsageError(f"Expected a {main} split in dataset {dataset.name!r}, but it has {', '.join(reported)}.")
    if protocol.selection == "heldout":
        on = reported[0]
        how = on if on != main else f"{on}, which is also reported: optimistic"
        return Plan(train, store.rows(on), reported, main, on, how)
    groups = store.groups[train]
    grouped = bool((groups != "").any())
    if grouped:
        groups = np.where(groups == "", store.ids[train], groups)  # an image without a group is a group of its own
    elif store.imported:
        raise UsageError("Expected groups or images to hold a part of train out, but imported embeddings have neither.")
    else:
        groups = near_duplicates(store.signatures(train))
    targets = store.targets[train] if strata is None else strata
    if targets.dtype.kind != "i":  # numbers are no strata
        targets = np.zeros(len(train), np.int64)
    held = hold_out(targets, groups, protocol.holdout, protocol.seed)
    several = len(np.unique(groups)) > 1
    divided = divide_single_groups(held, targets, groups, protocol.holdout) if stratified and several else []
    how = "group" if grouped else _clusters(groups)
    if not held.any() or held.all():
        raise UsageError(
            f"Expected groups in the train split of {dataset.name!r} of which some can be held out, but it has "
            f"{len(np.unique(groups))}. Add some, or use --protocol eva-0.4."
        )
    text = f"{held.mean():.0%} of train, held out by {how}"
    if stratified:
        text += _exceptions(targets, held, divided, dataset)
    return Plan(train[~held], train[held], reported, main, "holdout", text)


def _clusters(clusters: np.ndarray) -> str:
    """What stood in for groups, with how much was found: it tells no two places of one slide apart."""
    sizes = np.bincount(clusters)
    return (
        f"clusters of near-duplicates ({sizes[sizes > 1].sum()} of {len(clusters)} images look like another), as the "
        "dataset names no groups; two places of one slide may be on both sides"
    )


def _exceptions(targets: np.ndarray, held: np.ndarray, divided: list[int], dataset: DatasetCard) -> str:
    """What a reader must know of classes that are not held out as the others.

    Raises:
        UsageError: Fewer than two classes are held out: nothing can be chosen by them.
    """
    there, lacking = (
        [dataset.classes[label] for label in labels]
        for labels in (np.unique(targets[held]), np.setdiff1d(targets, targets[held]))
    )
    if len(there) < 2:
        raise UsageError(
            f"Expected two images of each of two classes in the train split of {dataset.name!r}, to hold some out, but "
            f"{some(lacking)} cannot be divided. Add images, or use --protocol eva-0.4."
        )
    text = ""
    if divided:
        names = some([dataset.classes[label] for label in divided])
        text += f"; images of one group on both sides for {names}, which no other group has: optimistic for it"
    if lacking:
        text += f"; without {some(lacking)}, which cannot be divided: chosen by the other classes alone"
    return text
