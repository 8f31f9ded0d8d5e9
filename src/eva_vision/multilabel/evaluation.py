"""Evaluation of several labels of an image, from stored embeddings to heads, scores and records."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from eva_core.contracts.head import FittedRun
from eva_core.contracts.metric import Metric
from eva_core.contracts.results import Baseline, Contamination, SplitRecord, TaskRecord
from eva_core.errors import EvaError
from eva_core.evaluation.contamination import marked, seen
from eva_core.evaluation.copies import copies_across, turned_copies_across
from eva_core.evaluation.reached_mpp import reached_mpp
from eva_core.evaluation.splits import Plan, cost, make_plan, reported_splits, summary
from eva_core.job import Answer, Job
from eva_core.progress import Bar
from eva_core.statistics.intervals import Intervals
from eva_core.store.store import Store
from eva_core.task import Heads
from eva_vision.multilabel.contracts import LabelData
from eva_vision.multilabel.labels import counted
from eva_vision.multilabel.metric_names import METRICS
from eva_vision.multilabel.metrics import POSITIVE
from eva_vision.multilabel.predictions import LabelScores, labels_table

COLOUR, PREVALENCE = "colour_stats", "prevalence"
"""Nulls: six colours of the image, and for every image the mean of each label in train."""
Scored = dict[str, tuple[LabelScores, LabelScores]]
"""By split, what the selected heads say, and what those after the last step do."""


def evaluate(job: Job, store: Store, metric: Metric) -> Answer:
    """Fit the head on the embeddings and on six colour statistics, and score both.

    Args:
        job: What is asked for.
        store: The embeddings of its dataset.
        metric: Facts of the main metric.
    """
    started = time.monotonic()
    card = job.dataset.card
    plan = make_plan(store, job.protocol, card, strata=rarest_label(store.targets[store.rows("train")]))
    runs, scored = _fitted(job, store, plan, "embeddings")
    with Bar(f"scores of {job.head_name} on {job.model}"):
        records = _records(scored)
    splits = {split: record for split, (record, _) in records.items()}
    fit_s = time.monotonic() - started
    baselines: dict[str, Baseline] = {PREVALENCE: {"splits": _prevalence(job, store, plan)}}
    if job.model == COLOUR:
        baselines[COLOUR] = {"splits": splits}
    elif not store.imported:  # colour needs the images
        of_colour = _fitted(job, store, plan, COLOUR)[1]
        with Bar(f"scores of {job.head_name} on {COLOUR}"):
            baselines[COLOUR] = {"splits": {split: record for split, (record, _) in _records(of_colour).items()}}
    said = [part for part, _ in scored.values()]
    record: TaskRecord = {
        **summary(plan, splits, card.metric, metric),
        "baselines": baselines,
        "contamination": _contamination(job, scored[plan.main][0]),
        "confounds": None,
        "mpp": reached_mpp(job, store, plan.main),
        "selected": [{"run": run.run, "value": run.selected_value, **run.selected} for run in runs],
        "refit": None,
        "skipped": store.skipped,
        "untrained": untrained(job, plan.reported),
        "copies": copies_across(store),
        "turned_copies": turned_copies_across(store, plan),
        "report": job.dataset.report(said),
        "cost": cost(store, fit_s),
    }
    draws = records[plan.main][1].draws[card.metric]
    return Answer(record, {run.run: run.params for run in runs}, labels_table(said, [run.run for run in runs]), draws)


def rarest_label(targets: np.ndarray) -> np.ndarray:
    """What a hold-out is stratified by: of the labels that an image has, the one that fewest images have.

    Args:
        targets: Shares from 0 to 1, NaN where not annotated, (N, L).
    Returns:
        Number of the label, from 1, or 0 where an image has none, (N,).

    Examples:
        >>> rarest_label(np.array([[1.0, 0.0], [1.0, 0.7], [np.nan, 0.2]])).tolist()
        [1, 2, 0]
    """
    there = targets >= POSITIVE
    counts = np.where(there, there.sum(axis=0), len(targets) + 1)
    return np.where(there.any(axis=1), counts.argmin(axis=1) + 1, 0)


def untrained(job: Job, reported: Sequence[str]) -> dict[str, dict[str, int]]:
    """Labels of each reported split that no image of train has, with how many images there have them."""
    counts = counted(job.dataset)
    foreign = {
        split: {label: there for label, (there, _) in counts[split].items() if there and not counts["train"][label][0]}
        for split in reported
    }
    return {split: labels for split, labels in foreign.items() if labels}


def _fitted(job: Job, store: Store, plan: Plan, what: str) -> tuple[list[FittedRun], Scored]:
    head, protocol = job.head, job.protocol
    train, select = (store.embedded(rows, what) for rows in (plan.train, plan.select))
    with Bar(f"{job.head_name} on {job.model if what == 'embeddings' else what}", 1, "steps") as bar:
        data = LabelData(train, select, job.dataset.card.metric, head.runs(protocol), bar.update)
        runs: list[FittedRun] = head.fit(data, protocol)
    scored: Scored = {}
    for split in plan.reported:
        part = _said(job, store, store.rows(split), split, [run.params for run in runs], what)
        if not np.isfinite(part.log_odds).all():
            name = job.model if what == "embeddings" else what
            raise EvaError(
                f"Expected finite log-odds on {split}, but {job.head_name} on {name} gives others: it diverged. "
                "Look at the embeddings."
            )
        same = all(run.last is run.params for run in runs)  # nothing was selected over time
        last = part if same else _said(job, store, store.rows(split), split, [run.last for run in runs], what)
        scored[split] = part, last
    return runs, scored


def _said(
    job: Job,
    store: Store,
    rows: np.ndarray,
    split: str,
    versions: Sequence[dict[str, Tensor]],
    what: str = "embeddings",
) -> LabelScores:
    """What each version of the parameters says of some rows, called a split."""
    labels, data = job.dataset.card.classes, store.embedded(rows, what)
    odds = np.stack([_log_odds(job, params, data.x, labels) for params in versions])
    return LabelScores(split, store.ids[rows], store.groups[rows], data.y.numpy(), odds, labels)


def _log_odds(job: Job, params: dict[str, Tensor], x: Tensor, labels: Sequence[str]) -> np.ndarray:
    odds: np.ndarray = job.head.logits(params, x).float().numpy()
    if odds.shape != (len(x), len(labels)):
        raise EvaError(
            f"Expected log-odds ({len(x)}, {len(labels)}) from {job.head_name}, but got {odds.shape}. Correct its code."
        )
    return odds


def _records(scored: Scored) -> dict[str, tuple[SplitRecord, Intervals]]:
    return {split: part.record(tuple(METRICS), last) for split, (part, last) in scored.items()}


def _prevalence(job: Job, store: Store, plan: Plan) -> dict[str, SplitRecord]:
    """What is scored by saying of every image how often each label is there in train: chance."""
    train = store.targets[plan.train]
    share = (np.nansum(train, axis=0) + 0.5) / ((~np.isnan(train)).sum(axis=0) + 1)
    records = {}
    for split in plan.reported:
        rows = store.rows(split)
        odds = np.broadcast_to(np.log(share / (1 - share)), store.targets[rows].shape)[None]
        labels = job.dataset.card.classes
        part = LabelScores(split, store.ids[rows], store.groups[rows], store.targets[rows], odds, labels)
        records[split] = part.record(tuple(METRICS))[0]
    return records


def repeated(job: Job, store: Store, heads: Heads) -> list[LabelScores]:
    """What finished heads say of the reported splits of their own dataset."""
    versions = [dict(params) for params in heads.values()]
    splits = reported_splits(store.splits[store.readable], job.dataset.card)
    return [_said(job, store, store.rows(split), split, versions) for split in splits]


def said_by(job: Job, store: Store, heads: Heads, labels: Sequence[str]) -> list[LabelScores]:
    """What finished heads say of each split of a dataset, whose labels may be others, or unknown.

    Args:
        job: The images, and the head.
        store: Their embeddings.
        heads: Parameters of the finished heads.
        labels: Names of the labels that they score.
    """
    own, parts = list(job.dataset.card.classes), []
    for split in dict.fromkeys(store.splits.tolist()):
        rows = store.rows(split)
        x = torch.from_numpy(store.read(rows))
        odds = np.stack([_log_odds(job, dict(params), x, labels) for params in heads.values()])
        targets = store.named_targets(rows, own, labels)
        parts.append(LabelScores(split, store.ids[rows], store.groups[rows], targets, odds, labels))
    return parts


def _contamination(job: Job, part: LabelScores) -> Contamination:
    """Whether the model was trained on these images or their slides."""

    def rescored(chosen: np.ndarray) -> SplitRecord:
        rest = replace(
            part,
            ids=np.asarray(part.ids)[chosen],
            groups=np.asarray(part.groups)[chosen],
            targets=part.targets[chosen],
            log_odds=part.log_odds[:, chosen],
        )
        return rest.record([job.dataset.card.metric])[0]

    known = seen(job.card, part.ids, part.groups, job.dataset)
    return marked(job.card, job.dataset.card, known, rescored)
