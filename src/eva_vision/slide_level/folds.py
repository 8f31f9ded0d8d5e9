"""Which samples teach, which select, which are scored: by the splits of a dataset, or by folds of its patients."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.evaluation.holdout import hold_out
from eva_core.evaluation.splits import CROSS_VALIDATED as CV
from eva_core.evaluation.splits import Plan, make_plan
from eva_vision.slide_level.bags.bag_store import BagStore
from eva_vision.slide_level.protocol import SlideLevel


@dataclass(frozen=True)
class Fold:
    """One division of the samples, by their numbers, ascending.

    Attributes:
        train: What heads learn from.
        select: What chooses the epoch or the regularisation.
        scored: What is scored, by split.
    """

    train: np.ndarray
    select: np.ndarray
    scored: Mapping[str, np.ndarray]


def divide(
    store: BagStore,
    protocol: Protocol,
    section: SlideLevel,
    card: DatasetCard,
    strata: np.ndarray,
    stratified: bool,
    by_site: bool,
) -> tuple[Plan, list[Fold]]:
    """Divide the samples of a store.

    Args:
        store: The bags.
        protocol: Says how heads are selected.
        section: Says how many folds there are.
        card: Card of the dataset.
        strata: A class number for each sample, which every part should have some of, (samples,).
        stratified: Whether targets are class numbers.
        by_site: Whether folds are whole sites.
    Raises:
        UsageError: A split is missing, or there are too few patients.
    """
    if (store.splits != CV).any():
        plan = make_plan(store, protocol, card, stratified)
        return plan, [Fold(plan.train, plan.select, {split: store.rows(split) for split in plan.reported})]
    rows = store.rows(CV)
    if by_site:
        sites, fold_of = np.unique(store.sites[rows], return_inverse=True)
        count, text = len(sites), f"{len(sites)} folds, each a site that its heads never saw"
    else:
        count, text = section.folds, f"{section.folds} folds by patient"
        fold_of = fold_numbers(strata[rows], store.groups[rows], count, protocol.seed)
    folds = []
    for number in range(count):
        train = rows[fold_of != number]
        held = hold_out(strata[train], store.groups[train], protocol.holdout, protocol.seed)
        if held.all() or not held.any():
            raise UsageError(f"Expected patients enough to hold some out in each of {count} folds. Use fewer.")
        if stratified and len(there := np.unique(strata[train[~held]])) < 2:
            raise UsageError(
                f"Expected two classes to learn from in each of {count} folds, but in one all that is left has "
                f"{card.classes[there[0]]!r}. Add patients of the others, or use fewer folds."
            )
        folds.append(Fold(train[~held], train[held], {CV: rows[fold_of == number]}))
    text += f"; in each, {protocol.holdout:.0%} of train held out by patient"
    nothing = np.array([], np.int64)
    return Plan(nothing, nothing, (CV,), CV, "holdout", text), folds


def fold_numbers(strata: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Divide whole groups into folds that have each stratum in about equal parts.

    Groups come in an order drawn from the seed, large ones first; each goes where the counts of its strata are then
    nearest to equal.

    Args:
        strata: Number of the stratum of each sample, (N,).
        groups: Group of each sample, (N,).
        folds: Number of folds.
        seed: Seed of the order.
    Returns:
        Fold of each sample, (N,).
    Raises:
        UsageError: There are fewer groups than folds.
    """
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < folds:
        raise UsageError(f"Expected at least {folds} patients for {folds} folds, but got {len(names)}. Use fewer.")
    counts = np.zeros((len(names), int(strata.max()) + 1))
    np.add.at(counts, (group, strata), 1)
    share = counts / np.maximum(counts.sum(0), 1)  # a rare stratum weighs as much as a common one
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    filled, sizes, fold_of = np.zeros((folds, counts.shape[1])), np.zeros(folds), np.zeros(len(names), int)
    for g in order:
        spread = [np.square(filled + share[g] * (np.arange(folds) == k)[:, None]).sum() for k in range(folds)]
        best = min(range(folds), key=lambda k: (round(spread[k], 12), sizes[k], k))
        fold_of[g] = best
        filled[best] += share[g]
        sizes[best] += counts[g].sum()
    assigned: np.ndarray = fold_of[group]
    return assigned
