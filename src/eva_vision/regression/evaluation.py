"""Evaluation of values of images, from stored embeddings to heads, scores and records."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.head import Embedded, FittedRun
from eva_core.contracts.metric import Metric
from eva_core.contracts.results import Baseline, Contamination, SplitRecord, TaskRecord
from eva_core.errors import EvaError, UsageError
from eva_core.evaluation.contamination import marked, seen
from eva_core.evaluation.copies import copies_across, turned_copies_across
from eva_core.evaluation.reached_mpp import reached_mpp
from eva_core.evaluation.splits import CROSS_VALIDATED as CV
from eva_core.evaluation.splits import Plan, cost, reported_splits, summary
from eva_core.job import Answer, Job
from eva_core.progress import Bar
from eva_core.statistics.intervals import Intervals
from eva_core.store.store import Store
from eva_core.task import Heads
from eva_vision.regression.contracts import FoldedDataset, ValueData
from eva_vision.regression.predictions import Values, values_table

COLOUR = "colour_stats"
NOTHING = "nothing: all of train is learnt from"


@dataclass(frozen=True)
class Fold:
    """One division of the samples: rows to learn from, ascending, and rows that are scored, by split."""

    train: np.ndarray
    scored: Mapping[str, np.ndarray]


def evaluate(job: Job, store: Store, metric: Metric) -> Answer:
    """Fit the head on the embeddings and on six colour statistics, and score both.

    Args:
        job: What is asked for.
        store: The embeddings of its dataset.
        metric: Facts of the main metric.
    """
    started = time.monotonic()
    card = job.dataset.card
    plan, folds = divided(job, store)
    runs, parts = _fitted(job, store, folds, "embeddings")
    splits, draws = {}, {}
    with Bar(f"scores of {job.head_name} on {job.model}"):
        for split, (part, last) in parts.items():
            splits[split], intervals = _record(part, last, card.metric)
            draws[split] = intervals.draws[card.metric]
    fit_s = time.monotonic() - started
    baselines: dict[str, Baseline] = {COLOUR: {"splits": splits}}
    if store.imported:
        baselines = {}  # colour needs the images
    elif job.model != COLOUR:
        of_colour = _fitted(job, store, folds, COLOUR)[1]
        with Bar(f"scores of {job.head_name} on {COLOUR}"):
            records = {split: _record(part, last, card.metric)[0] for split, (part, last) in of_colour.items()}
        baselines[COLOUR] = {"splits": records}
    said = [part for part, _ in parts.values()]
    record: TaskRecord = {
        **summary(plan, splits, card.metric, metric),
        "baselines": baselines,
        "contamination": _contamination(job, parts[plan.main][0]),
        "confounds": None,
        "mpp": reached_mpp(job, store, plan.main),
        "selected": [{"run": run.run, "value": run.selected_value, **run.selected} for run in runs],
        "refit": None,
        "skipped": store.skipped,
        "untrained": {},
        "copies": {} if plan.main == CV else copies_across(store),
        "turned_copies": None if plan.main == CV else turned_copies_across(store, plan),
        "report": job.dataset.report(said),
        "cost": cost(store, fit_s),
    }
    heads = {number: run.params for number, run in enumerate(runs)}
    return Answer(record, heads, values_table(said, range(len(said[0].predicted))), draws[plan.main])


def labels_of(card: DatasetCard) -> tuple[str, ...]:
    """Names of the values of a dataset."""
    return card.classes or ("value",)


def divided(job: Job, store: Store) -> tuple[Plan, list[Fold]]:
    """The folds of a dataset, or its splits as the only one.

    Raises:
        UsageError: A split or the images of a fold are missing.
    """
    card, nothing = job.dataset.card, np.array([], np.int64)
    if (store.splits != CV).any():
        reported = reported_splits(store.splits[store.readable], card)
        main = card.main_split or reported[-1]
        if main not in reported:
            raise UsageError(f"Expected a {main} split in dataset {card.name!r}, but it has {', '.join(reported)}.")
        train = store.rows("train")
        plan = Plan(train, nothing, reported, main, "nothing", NOTHING)
        return plan, [Fold(train, {split: store.rows(split) for split in reported})]
    assert isinstance(job.dataset, FoldedDataset)
    rows, folds = store.rows(CV), []
    for number, given in enumerate(job.dataset.folds()):
        train, scored = (rows[np.isin(store.groups[rows], list(groups))] for groups in (given.train, given.test))
        if not len(train) or not len(scored):
            what = "train" if not len(train) else "test"
            raise UsageError(f"Expected images in {what} of fold {number} of {card.name!r}, but none can be read.")
        folds.append(Fold(train, {CV: scored}))
    return Plan(nothing, nothing, (CV,), CV, "nothing", f"{NOTHING}, in each of {len(folds)} published folds"), folds


def _fitted(
    job: Job, store: Store, folds: Sequence[Fold], what: str
) -> tuple[list[FittedRun], dict[str, tuple[Values, np.ndarray]]]:
    """Fit a head in every fold.

    Returns:
        Its runs, fold after fold; by split what the selected heads predict, and what those after the last step do.
    """
    labels, runs = labels_of(job.dataset.card), job.head.runs(job.protocol)
    scored = {split: np.sort(np.concatenate([fold.scored[split] for fold in folds])) for split in folds[0].scored}
    values = {split: np.zeros((2, len(runs), len(rows), len(labels))) for split, rows in scored.items()}
    fold_of = {split: np.zeros(len(rows), np.int64) for split, rows in scored.items()}
    fitted: list[FittedRun] = []
    with Bar(f"{job.head_name} on {job.model if what == 'embeddings' else what}", len(folds), "folds") as bar:
        for number, fold in enumerate(folds):
            data = ValueData(_embedded(store, fold.train, what), store.groups[fold.train].tolist(), runs)
            of_fold = job.head.fit(data, job.protocol)
            for split, rows in fold.scored.items():
                places = np.searchsorted(scored[split], rows)
                fold_of[split][places] = number
                x = _embedded(store, rows, what).x
                for run, each in enumerate(of_fold):
                    selected = _values(job, each.params, x, labels)
                    values[split][0, run, places] = selected
                    same = each.last is each.params
                    values[split][1, run, places] = selected if same else _values(job, each.last, x, labels)
            if len(folds) > 1:
                of_fold = [replace(run, selected={**run.selected, "fold": number}) for run in of_fold]
            fitted += of_fold
            bar.advance(1)
    parts = {}
    for split, rows in scored.items():
        if not np.isfinite(values[split][0]).all():
            name = job.model if what == "embeddings" else what
            raise EvaError(
                f"Expected finite values on {split}, but {job.head_name} on {name} gives others: it diverged. "
                "Look at the embeddings."
            )
        part = Values(
            split,
            store.ids[rows],
            store.groups[rows],
            store.targets[rows].reshape(len(rows), len(labels)),
            values[split][0],
            labels,
            fold_of[split] if len(folds) > 1 else None,
        )
        parts[split] = part, values[split][1]
    return fitted, parts


def _embedded(store: Store, rows: np.ndarray, what: str) -> Embedded:
    data = store.embedded(rows, what)
    return Embedded(data.x, data.y.double().reshape(len(rows), -1))


def _values(job: Job, params: dict[str, Tensor], x: Tensor, labels: Sequence[str]) -> np.ndarray:
    values: np.ndarray = job.head.values(params, x).double().numpy()
    if values.shape != (len(x), len(labels)):
        raise EvaError(
            f"Expected values ({len(x)}, {len(labels)}) from {job.head_name}, but got {values.shape}. Correct its code."
        )
    return values


def _record(part: Values, last: np.ndarray, metric: str) -> tuple[SplitRecord, Intervals]:
    return part.record(list(dict.fromkeys([metric, "pearson"])), replace(part, predicted=last))


def repeated(job: Job, store: Store, heads: Heads) -> list[Values]:
    """What finished heads, fold after fold, predict for the reported splits of their own dataset."""
    labels, folds, every = labels_of(job.dataset.card), divided(job, store)[1], [*heads.values()]
    runs, parts = len(every) // len(folds), []
    for split in folds[0].scored:
        rows = np.sort(np.concatenate([fold.scored[split] for fold in folds]))
        values, fold_of = np.zeros((runs, len(rows), len(labels))), np.zeros(len(rows), np.int64)
        for number, fold in enumerate(folds):
            places = np.searchsorted(rows, fold.scored[split])
            fold_of[places], x = number, _embedded(store, fold.scored[split], "embeddings").x
            for run in range(runs):
                values[run, places] = _values(job, dict(every[number * runs + run]), x, labels)
        targets, folded = store.targets[rows].reshape(len(rows), -1), fold_of if len(folds) > 1 else None
        parts.append(Values(split, store.ids[rows], store.groups[rows], targets, values, labels, folded))
    return parts


def said_by(job: Job, store: Store, heads: Heads, outputs: Sequence[str]) -> list[Values]:
    """What finished heads predict for each split of a dataset, whose values may be unknown.

    Args:
        job: The images, and the head.
        store: Their embeddings.
        heads: Parameters of the finished heads.
        outputs: Names of the values that they predict.
    """
    own, parts = list(job.dataset.card.classes), []
    for split in dict.fromkeys(store.splits.tolist()):
        rows = store.rows(split)
        x = torch.from_numpy(store.read(rows))
        predicted = np.stack([_values(job, dict(params), x, outputs) for params in heads.values()])
        targets = store.named_targets(rows, own, outputs)
        parts.append(Values(split, store.ids[rows], store.groups[rows], targets, predicted, outputs))
    return parts


def _contamination(job: Job, part: Values) -> Contamination:
    """Whether the model was trained on these images, or on the slides of their files."""

    def rescored(chosen: np.ndarray) -> SplitRecord:
        rest = replace(
            part,
            ids=np.asarray(part.ids)[chosen],
            groups=np.asarray(part.groups)[chosen],
            targets=part.targets[chosen],
            predicted=part.predicted[:, chosen],
            folds=None if part.folds is None else part.folds[chosen],
        )
        return _record(rest, rest.predicted, job.dataset.card.metric)[0]

    files = {s.id: "" if s.path is None else s.path.stem for s in job.dataset.samples}
    names = [files.get(name, "") for name in part.ids]
    known = seen(job.card, part.ids, part.groups, job.dataset) | seen(job.card, names, names)
    return marked(job.card, job.dataset.card, known, rescored)
