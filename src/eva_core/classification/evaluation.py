"""From stored embeddings to a score: which rows teach, select and are reported; heads; records."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from eva_core.classification.metrics import log_odds, probabilities, selection_metric
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError, UsageError, some
from eva_core.evaluation.class_checks import untrained
from eva_core.evaluation.contamination import marked, seen
from eva_core.evaluation.holdout import divide_single_groups, few, hold_out, near_duplicates
from eva_core.evaluation.site_bias import confounds
from eva_core.evaluation.turned_copies import turned_copies
from eva_core.progress import Bar
from eva_core.results.record import Predictions, predictions_table
from eva_core.statistics.summary import split_record
from eva_core.store.reuse import CONTENT, copies_of_train
from eva_core.store.store import Samples, Store
from eva_core.task import Answer
from eva_core.types import Dataset, DatasetCard, Embedded, FittedRun, Head, ModelCard

HELD_OUT = ("val", "test")
LOOKED_THROUGH = 2000
"""Images of train and the reported splits up to which copies across them are looked for."""
COLOUR = "colour_stats"


@dataclass(frozen=True)
class Question:
    """Embeddings, and what is asked of them."""

    store: Store
    model: str
    model_card: ModelCard
    dataset: DatasetCard
    head: Head
    head_name: str
    protocol: Protocol


@dataclass(frozen=True)
class Plan:
    """Which samples of the store teach, which select, which splits are reported."""

    train: np.ndarray
    select: np.ndarray
    reported: tuple[str, ...]
    main: str
    selected_on: str
    selection: str


def evaluate(
    asked: Question, report: Callable[[Sequence[Predictions]], dict[str, Any]] = lambda predictions: {}
) -> Answer:
    """Fit the head on the embeddings and on six colour statistics, and score both.

    Args:
        report: What else the dataset has to say of the predictions.
    """
    started = time.monotonic()
    store, metric = asked.store, asked.dataset.metric
    plan = make_plan(store, asked.protocol, asked.dataset)
    counts = class_counts(store.targets[store.readable], store.splits[store.readable], asked.dataset.classes)
    foreign = untrained({split: counts[split] for split in ("train", *plan.reported)}, asked.dataset.name)
    runs = _fit(asked, plan, "embeddings")
    splits, predictions, draws = _score(asked, plan, runs, "embeddings")
    main_split = plan.main
    fit_s = time.monotonic() - started
    baselines = {COLOUR: {"splits": splits}}
    if store.imported:
        baselines = {}  # colour needs the images
    elif asked.model != COLOUR:
        baselines[COLOUR]["splits"] = _score(asked, plan, _fit(asked, plan, COLOUR), COLOUR)[0]

    record = {
        **summary(plan, splits, metric),
        "baselines": baselines,
        "contamination": _contamination(asked, predictions[main_split]),
        "confounds": _confounds(asked, main_split),
        "mpp": _mpp(asked, main_split),
        "selected": [{"run": r.run, "value": r.selected_value, **r.selected} for r in runs],
        "refit": _refit(asked, plan, runs),
        "skipped": store.skipped,
        "untrained": foreign,
        "copies": {} if store.imported else _copies(store),
        "turned_copies": turned_copies_across(store, plan),
        "report": report(list(predictions.values())),
        "cost": cost(store, fit_s),
    }
    table = predictions_table(list(predictions.values()), asked.dataset.classes, [r.run for r in runs])
    return Answer(record, {r.run: r.params for r in runs}, table, draws[main_split])


def class_counts(targets: np.ndarray, splits: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many images each class has, by split: targets and splits (N,); samples without a label are left out."""
    counts = {str(split): dict.fromkeys(classes, 0) for split in dict.fromkeys(splits)}
    for split, target in zip(splits[targets >= 0], targets[targets >= 0], strict=True):
        counts[split][classes[target]] += 1
    return counts


def refuse_unfit(dataset: Dataset, bare: Sequence[str], what: str) -> None:
    """Refuse a dataset that cannot be learnt from, before anything is extracted.

    Args:
        bare: Ids of the samples without a label.
        what: A label of this task, in a word.
    Raises:
        UsageError: Splits, labels or classes are missing.
    """
    if dataset.samples:
        reported_splits((s.split for s in dataset.samples), dataset.card)
    if bare:
        raise UsageError(
            f"Expected a {what} for every image, but {len(bare)} have none, first {bare[0]!r}. "
            "Add them, or apply finished heads with `eva predict --head RESULT`."
        )
    if len(dataset.card.classes) < 2:
        raise UsageError(f"Expected at least 2 classes in {dataset.card.name!r}, but got {len(dataset.card.classes)}.")


def summary(plan: Plan, splits: dict[str, Any], metric: str) -> dict[str, Any]:
    """The parts of results.json that say what the main score is and how it was selected.

    Args:
        splits: Record of each reported split.
    """
    main = splits[plan.main]["metrics"][metric]
    return {
        "main": {
            "split": plan.main,
            "metric": metric,
            **{k: main[k] for k in ("mean", "std", "ci95")},
            "selected_on": plan.selected_on,
        },
        "selection": plan.selection,
        "splits": splits,
    }


def cost(store: Samples, fit_s: float) -> dict[str, float]:
    """Seconds, as results.json holds them."""
    return {**{name: float(store.attributes[name]) for name in ("embed_s", "images_per_s")}, "fit_s": fit_s}


def reported_splits(splits: Iterable[str], dataset: DatasetCard) -> tuple[str, ...]:
    """The held-out splits among those that samples have.

    Raises:
        UsageError: There is none, or nothing to train on.
    """
    there = set(splits)
    reported = tuple(split for split in HELD_OUT if split in there)
    for missing, found in (("a train split", "train" in there), ("a val or test split", reported)):
        if not found:
            raise UsageError(
                f"Expected {missing} in dataset {dataset.name!r}, but it has {some(sorted(there)) or 'none'}."
            )
    return reported


def make_plan(store: Samples, protocol: Protocol, dataset: DatasetCard) -> Plan:
    """Divide the rows as the protocol says.

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
    targets, classification = store.targets[train], dataset.task == "classification"
    held = hold_out(targets, groups, protocol.holdout, protocol.seed)
    several = len(np.unique(groups)) > 1
    divided = divide_single_groups(held, targets, groups, protocol.holdout) if classification and several else []
    how = "group" if grouped else _clusters(groups)
    if not held.any() or held.all():
        raise UsageError(
            f"Expected groups in the train split of {dataset.name!r} of which some can be held out, but it has "
            f"{len(np.unique(groups))}. Add some, or use --protocol eva-0.4."
        )
    text = f"{held.mean():.0%} of train, held out by {how}"
    if classification:
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
    said = ""
    if divided:
        names = some([dataset.classes[label] for label in divided])
        said += f"; images of one group on both sides for {names}, which no other group has: optimistic for it"
    if lacking:
        said += f"; without {some(lacking)}, which cannot be divided: chosen by the other classes alone"
    return said


def _fit(asked: Question, plan: Plan, what: str) -> list[FittedRun]:
    store, head, protocol = asked.store, asked.head, asked.protocol
    train, select = store.embedded(plan.train, what), store.embedded(plan.select, what)
    runs = head.runs(protocol)
    classes, metric = len(asked.dataset.classes), asked.dataset.metric
    patience = protocol.patience.get(asked.dataset.name)
    with Bar(f"{asked.head_name} on {asked.model if what == 'embeddings' else what}", 1, "steps") as bar:
        if protocol.shots is None:
            return head.fit(train, select, classes, protocol, runs, metric, patience, bar.update)
        fitted: list[FittedRun] = []
        for run in runs:
            rows = few(train.y, protocol.shots, protocol.seed + run)
            some = Embedded(train.x[rows], train.y[rows])
            fitted += head.fit(some, select, classes, protocol, [run], metric, patience)
            bar.update(len(fitted), len(runs))
        return fitted


def _refit(asked: Question, plan: Plan, runs: Sequence[FittedRun]) -> float | None:
    """The main metric of the final heads on what selected them, mean over runs; None where that is also reported.

    A head that was fitted once more has learned from these samples: it can hardly be worse than the one selected.
    """
    if plan.selected_on != "holdout":
        return None
    data, score = asked.store.embedded(plan.select), selection_metric(asked.dataset.metric)
    return float(np.mean([score(asked.head.logits(r.params, data.x)[None], data.y).item() for r in runs]))


def _score(
    asked: Question, plan: Plan, runs: Sequence[FittedRun], what: str
) -> tuple[dict[str, Any], dict[str, Predictions], dict[str, np.ndarray]]:
    """By reported split: its record, the scores behind it, and the draws of the main metric."""
    splits, parts, draws = {}, {}, {}
    for split in plan.reported:
        rows = asked.store.rows(split)
        data = asked.store.embedded(rows, what)
        selected, ranking = _scores(asked.head, [r.params for r in runs], data)
        broken = [r.run for r, odds in zip(runs, ranking, strict=True) if np.isnan(odds).any()]
        if broken:
            raise EvaError(
                f"Expected finite logits on {split}, but run {broken[0]} of {asked.head_name} on {asked.model} gives "
                "NaN: it diverged. Lower the learning rate, or look at the embeddings."
            )
        same = all(r.last is r.params for r in runs)  # nothing was selected over time
        last, ranking_last = (selected, ranking) if same else _scores(asked.head, [r.last for r in runs], data)
        groups, targets = asked.store.groups[rows], asked.store.targets[rows]
        known = [g or None for g in groups.tolist()] if (groups != "").any() else None
        splits[split], intervals = split_record(
            selected, last, targets, asked.dataset.classes, known, ranking, ranking_last
        )
        parts[split] = Predictions(split, asked.store.ids[rows], groups, targets, selected, ranking)
        draws[split] = intervals.draws[asked.dataset.metric]
    return splits, parts, draws


def _scores(head: Head, versions: Sequence[dict[str, torch.Tensor]], data: Embedded) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities and log-odds under each version of the parameters, (R, N, C) both."""
    logits = [head.logits(params, data.x) for params in versions]
    return np.stack([probabilities(z).numpy() for z in logits]), np.stack([log_odds(z).numpy() for z in logits])


def turned_copies_across(store: Samples, plan: Plan) -> dict[str, int] | None:
    """How many images of each reported split look like one of train, turned or not; None where nobody looked.

    Groups make sure of it otherwise, and the search takes a while.
    """
    rows = np.sort(np.concatenate([store.rows(split) for split in ("train", *plan.reported)]))
    if store.imported or len(rows) > LOOKED_THROUGH or (store.groups[rows] != "").any():
        return None
    taught = store.splits[rows] == "train"
    pairs = turned_copies(store.signatures(rows))
    across = pairs[taught[pairs[:, 0]] != taught[pairs[:, 1]]]
    alike = np.unique(across[~taught[across]])
    splits = store.splits[rows[alike]]
    return {split: int((splits == split).sum()) for split in plan.reported if (splits == split).any()}


def _copies(store: Store) -> dict[str, int]:
    rows = np.flatnonzero(store.readable)
    return copies_of_train(store.read(rows, CONTENT), store.splits[rows])


def _contamination(asked: Question, predictions: Predictions) -> dict[str, Any]:
    """Whether the model was trained on these slides."""

    def rescored(chosen: np.ndarray) -> dict[str, Any]:
        groups = [g or None for g in np.asarray(predictions.groups)[chosen]]
        scores, ranking = predictions.scores[:, chosen], predictions.ranking[:, chosen]
        targets = predictions.targets[chosen]
        return split_record(scores, scores, targets, asked.dataset.classes, groups, ranking, ranking)[0]

    known = seen(asked.model_card, predictions.ids, predictions.groups)
    return marked(asked.model_card, asked.dataset, known, rescored)


def _confounds(asked: Question, split: str) -> dict[str, Any] | None:
    """How the embeddings mix class and site, where samples carry a site and a group."""
    rows = asked.store.rows(split)
    sites, groups = asked.store.sites[rows], asked.store.groups[rows]
    if (sites == "").any() or (groups == "").any():
        return None
    data = asked.store.embedded(rows)
    numbered = (torch.from_numpy(np.unique(names, return_inverse=True)[1]) for names in (sites, groups))
    found = confounds(data.x, data.y, *numbered)
    return None if found is None else asdict(found)


def _mpp(asked: Question, split: str) -> dict[str, float | None]:
    """Micrometres per pixel of the files, and of what reached the model: median over the images of a split."""
    native = asked.dataset.mpp
    if native is None:
        return {"native": None, "reached": None}
    sides = asked.store.read(asked.store.rows(split), "short_side")
    resize = asked.protocol.geometry_for(asked.model_card).resize
    return {"native": native, "reached": native * float(np.median(sides)) / resize}
