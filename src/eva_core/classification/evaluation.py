"""Evaluation of a classification, from stored embeddings to heads, scores and records."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from eva_core.classification.measures import stacked_measures
from eva_core.classification.metric_names import kept_metrics
from eva_core.classification.metrics import log_odds, probabilities, selection_metric
from eva_core.classification.predictions import HOLDOUT, HOLDOUT_SPLIT, Predictions, predictions_table
from eva_core.classification.temperature import calibrated
from eva_core.contracts.head import Embedded, FittedRun, FittingData, Head
from eva_core.contracts.metric import Metric
from eva_core.contracts.results import (
    Baseline,
    Calibration,
    ClassificationRecord,
    Confounds,
    Contamination,
    SplitRecord,
)
from eva_core.errors import EvaError
from eva_core.evaluation.class_checks import class_counts, untrained
from eva_core.evaluation.contamination import marked, seen
from eva_core.evaluation.copies import copies_across, turned_copies_across
from eva_core.evaluation.holdout import few
from eva_core.evaluation.reached_mpp import reached_mpp
from eva_core.evaluation.site_bias import confounds
from eva_core.evaluation.splits import Plan, cost, make_plan, summary
from eva_core.job import Answer, Job
from eva_core.progress import Bar
from eva_core.results.record import write_table
from eva_core.store.store import Store

COLOUR = "colour_stats"


def evaluate(job: Job, store: Store, metric: Metric, folder: Path) -> Answer:
    """Fit the head on the embeddings and on six colour statistics, and score both.

    Args:
        job: What is asked for.
        store: The embeddings of its dataset.
        metric: Facts of the main metric.
        folder: Folder of the result, which keeps what heads say of the hold-out.
    """
    started = time.monotonic()
    card = job.dataset.card
    plan = make_plan(store, job.protocol, card, stratified=True)
    counts = class_counts(store.targets[store.readable], store.splits[store.readable], job.dataset.card.classes)
    foreign = untrained({split: counts[split] for split in ("train", *plan.reported)}, job.dataset.card.name)
    runs = fit_head(job, store, plan, "embeddings")
    with Bar(f"scores of {job.head_name} on {job.model}"):
        splits, predictions, draws = _score(job, store, plan, runs, "embeddings")
    main_split = plan.main
    fit_s = time.monotonic() - started
    baselines: dict[str, Baseline] = {COLOUR: {"splits": splits}}
    if store.imported:
        baselines = {}  # colour needs the images
    elif job.model != COLOUR:
        colour = fit_head(job, store, plan, COLOUR)
        with Bar(f"scores of {job.head_name} on {COLOUR}"):
            baselines[COLOUR]["splits"] = _score(job, store, plan, colour, COLOUR)[0]

    record: ClassificationRecord = {
        **summary(plan, splits, job.metric, metric),
        "baselines": baselines,
        "contamination": _contamination(job, predictions[main_split]),
        "confounds": _confounds(store, main_split),
        "mpp": reached_mpp(job, store, main_split),
        "selected": [{"run": r.run, "value": r.selected_value, **r.selected} for r in runs],
        "refit": _refit(job, store, plan, runs),
        "skipped": store.skipped,
        "untrained": foreign,
        "copies": copies_across(store),
        "turned_copies": turned_copies_across(store, plan),
        "report": job.dataset.report(list(predictions.values())),
        "cost": cost(store, fit_s),
        "calibration": _calibration(job, store, plan, runs, predictions, folder),
    }
    table = predictions_table(list(predictions.values()), job.dataset.card.classes, [r.run for r in runs])
    return Answer(record, {r.run: r.params for r in runs}, table, draws[main_split])


def fit_head(job: Job, store: Store, plan: Plan, what: str) -> list[FittedRun]:
    """Fit the head of a job on the rows of a plan.

    Args:
        job: Its head, protocol and classes.
        store: The embeddings of its dataset.
        plan: The rows that teach, and those that select.
        what: `embeddings`, or `colour_stats`.
    """
    head, protocol = job.head, job.protocol
    data = FittingData(
        store.embedded(plan.train, what),
        store.embedded(plan.select, what),
        len(job.dataset.card.classes),
        head.runs(protocol),
        job.metric,
        protocol.patience.get(job.dataset.card.name),
    )
    with Bar(f"{job.head_name} on {job.model if what == 'embeddings' else what}", 1, "steps") as bar:
        if protocol.shots is None:
            runs: list[FittedRun] = head.fit(replace(data, progress=bar.update), protocol)
            return runs
        fitted: list[FittedRun] = []
        for run in data.runs:
            rows = few(data.train.y, protocol.shots, protocol.seed + run)
            groups = None if data.train.groups is None else data.train.groups[rows.numpy()]
            some = Embedded(data.train.x[rows], data.train.y[rows], groups)
            fitted += head.fit(replace(data, train=some, runs=[run]), protocol)
            bar.update(len(fitted), len(data.runs))
        return fitted


def _calibration(
    job: Job, store: Store, plan: Plan, runs: Sequence[FittedRun], parts: Mapping[str, Predictions], folder: Path
) -> Calibration | None:
    """Calibration before and after a temperature; None where what selects is also reported."""
    if plan.selected_on != "holdout":
        return None
    versions = [run.params if run.held is None else run.held for run in runs]
    held_out = _predicted_rows(job, store, plan.select, HOLDOUT_SPLIT, versions)
    write_table(folder / HOLDOUT, predictions_table([held_out], job.dataset.card.classes, [r.run for r in runs]))
    return calibrated(held_out, parts)


def _refit(job: Job, store: Store, plan: Plan, runs: Sequence[FittedRun]) -> float | None:
    """The main metric of the final heads on what selected them, mean over runs; None where that is also reported.

    A head that was fitted once more has learned from these samples: it can hardly be worse than the one selected.
    """
    if plan.selected_on != "holdout":
        return None
    data, score = store.embedded(plan.select), selection_metric(job.metric)
    return float(np.mean([score(job.head.answers(r.params, data)[None], data.y).item() for r in runs]))


def _score(
    job: Job, store: Store, plan: Plan, runs: Sequence[FittedRun], what: str
) -> tuple[dict[str, SplitRecord], dict[str, Predictions], dict[str, np.ndarray]]:
    """Records, scores and draws of the main metric, each by reported split."""
    splits, parts, draws = {}, {}, {}
    for split in plan.reported:
        part = predicted(job, store, split, [r.params for r in runs], what)
        broken = [r.run for r, odds in zip(runs, part.ranking, strict=True) if np.isnan(odds).any()]
        if broken:
            raise EvaError(
                f"Expected finite logits on {split}, but run {broken[0]} of {job.head_name} on {job.model} gives "
                "NaN: it diverged. Lower the learning rate, or look at the embeddings."
            )
        same = all(r.last is r.params for r in runs)  # nothing was selected over time
        end = part if same else predicted(job, store, split, [r.last for r in runs], what)
        splits[split], intervals = part.record(kept_metrics(job.dataset.card, job.protocol.metrics), end)
        parts[split] = part
        draws[split] = intervals.draws[job.metric]
    return splits, parts, draws


def predicted(
    job: Job, store: Store, split: str, versions: Sequence[dict[str, torch.Tensor]], what: str = "embeddings"
) -> Predictions:
    """What each version of the parameters says of a split."""
    return _predicted_rows(job, store, store.rows(split), split, versions, what)


def _predicted_rows(
    job: Job,
    store: Store,
    rows: np.ndarray,
    split: str,
    versions: Sequence[dict[str, torch.Tensor]],
    what: str = "embeddings",
) -> Predictions:
    """What each version of the parameters says of some rows, called a split."""
    data, classes = store.embedded(rows, what), job.dataset.card.classes
    scores, ranking = scores_of(job.head, versions, data)
    of_runs = [{name: of.numpy() for name, of in job.head.measures(p, data).items()} for p in versions]
    measures = stacked_measures(of_runs)
    ids, groups, targets = store.ids[rows], store.groups[rows], store.targets[rows]
    return Predictions(split, ids, groups, targets, scores, ranking, classes, measures)


def scores_of(head: Head, versions: Sequence[dict[str, torch.Tensor]], data: Embedded) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities and log-odds under each version of the parameters, (R, N, C) both."""
    logits = [head.answers(params, data) for params in versions]
    return np.stack([probabilities(z).numpy() for z in logits]), np.stack([log_odds(z).numpy() for z in logits])


def _contamination(job: Job, predictions: Predictions) -> Contamination:
    """Whether the model was trained on these slides."""

    def rescored(chosen: np.ndarray) -> SplitRecord:
        rest = replace(
            predictions,
            ids=np.asarray(predictions.ids)[chosen],
            groups=np.asarray(predictions.groups)[chosen],
            targets=predictions.targets[chosen],
            scores=predictions.scores[:, chosen],
            log_odds=predictions.ranking[:, chosen],
            measures={name: values[:, chosen] for name, values in predictions.measures.items()},
        )
        return rest.record(kept_metrics(job.dataset.card, job.protocol.metrics))[0]

    known = seen(job.card, predictions.ids, predictions.groups, job.dataset)
    return marked(job.card, job.dataset.card, known, rescored)


def _confounds(store: Store, split: str) -> Confounds | None:
    """How the embeddings mix class and site, where samples carry a site and a group."""
    rows = store.rows(split)
    sites, groups = store.sites[rows], store.groups[rows]
    if (sites == "").any() or (groups == "").any():
        return None
    data = store.embedded(rows)
    numbered = (torch.from_numpy(np.unique(names, return_inverse=True)[1]) for names in (sites, groups))
    measured = confounds(data.x, data.y, *numbered)
    return None if measured is None else cast(Confounds, asdict(measured))
