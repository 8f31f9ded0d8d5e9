"""Evaluation of bags: folds, heads, nulls and records, whatever the outcome is."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from eva_core import registry
from eva_core.contracts.head import FittedRun
from eva_core.contracts.metric import Metric
from eva_core.contracts.results import Baseline, Contamination, Magnification, SplitRecord
from eva_core.errors import EvaError
from eva_core.evaluation.contamination import marked, seen
from eva_core.evaluation.random_weights import RANDOM
from eva_core.evaluation.splits import cost, summary
from eva_core.job import Answer, Job
from eva_core.progress import Bar
from eva_core.task import Heads
from eva_vision.slide_level.bags.bag_store import BagStore
from eva_vision.slide_level.bags.stored_bags import MeanBags, StoredBags
from eva_vision.slide_level.contracts import BagData, BagHead, Bags, SlideDataset
from eva_vision.slide_level.folds import Fold, divide
from eva_vision.slide_level.metadata import metadata_vectors
from eva_vision.slide_level.pictures.examples import draw_examples
from eva_vision.slide_level.pictures.plots import draw_plots
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slide_level.schema import SlideRecord
from eva_vision.slide_level.scoring import Said, Scoring

Params = dict[str, Tensor]
COLOUR, METADATA = "colour_stats", "metadata"
_STRENGTHS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3)
"""Inverse strengths of regularisation that metadata alone is fitted with, where a protocol has no such head."""


class _Reader:
    """Gives the bags of samples: of the model, of colour, or of metadata."""

    def __init__(self, job: Job, store: BagStore, what: str) -> None:
        self.job, self.store, self.what = job, store, what

    def __call__(self, rows: np.ndarray, train: np.ndarray) -> Bags:
        if self.what != METADATA:
            return StoredBags(self.store, rows, self.what)
        dataset = self.job.dataset
        assert isinstance(dataset, SlideDataset)
        return MeanBags(metadata_vectors(dataset, self.store, rows, train), StoredBags(self.store, rows).targets)


def evaluate(
    job: Job, store: BagStore, scoring: Scoring, metric: Metric, folder: Path, untrained: BagStore | None = None
) -> Answer:
    """Fit the head on the bags and on what needs no tissue, and score all.

    Args:
        job: What is asked for.
        store: The bags of its dataset.
        scoring: What is particular to the outcome.
        metric: Facts of the main metric.
        folder: Folder of the result, for pictures.
        untrained: The bags of the same architecture with random weights; None where they are not asked for.
    """
    started = time.monotonic()
    card, section = job.dataset.card, job.resolved.section
    strata = scoring.strata(store.targets)
    plan, folds = divide(store, job.protocol, section, card, strata, scoring.stratified, _dataset(job).fold_by_site)
    runs, said = _fitted(job, store, scoring, folds, job.head, "embeddings", job.head_name)
    records = {split: scoring.record(part, card) for split, part in said.items()}
    splits = {split: record for split, (record, _) in records.items()}
    fit_s = time.monotonic() - started
    baselines: dict[str, Baseline] = {}
    if job.model != COLOUR:
        baselines[COLOUR] = {"splits": _null(job, store, scoring, folds, job.head, COLOUR)}
    by_metadata = registry.heads.build(scoring.by_metadata)
    if metadata_vectors(_dataset(job), store, folds[0].train, folds[0].train).shape[1]:
        baselines[METADATA] = {"splits": _null(_with_strengths(job), store, scoring, folds, by_metadata, METADATA)}
    if untrained is not None:
        bare = replace(job, model=RANDOM)
        baselines[RANDOM] = {"splits": _null(bare, untrained, scoring, folds, job.head, "embeddings")}
    parts = [scoring.predictions(part, card) for part in said.values()]
    pictures, shapes = draw_examples(job, store, scoring, said[plan.main], runs, folder)
    pictures += draw_plots(job, scoring, parts[[*said].index(plan.main)], splits[plan.main], folder)
    record: SlideRecord = {
        **summary(plan, splits, card.metric, metric),
        "baselines": baselines,
        "contamination": _contamination(job, store, scoring, said[plan.main]),
        "confounds": None,
        "mpp": _mpp(job, store),
        "selected": [{"run": r.run, "value": r.selected_value, **r.selected} for r in runs],
        "refit": None,
        "skipped": store.skipped,
        "untrained": {},
        "copies": {},
        "turned_copies": None,
        "report": {
            "slides": len(store.counts),
            "patches": int(store.counts.sum()),
            "without_tissue": store.without_tissue,
            **job.dataset.report(parts),
        },
        "cost": cost(store, fit_s),
        "pictures": pictures,
        "shapes": shapes,
    }
    table = scoring.table(parts, card, range(len(next(iter(said.values())).outputs)))
    heads = {number: run.params for number, run in enumerate(runs)}
    return Answer(record, heads, table, records[plan.main][1].draws[card.metric])


def _dataset(job: Job) -> SlideDataset:
    assert isinstance(job.dataset, SlideDataset)
    return job.dataset


def _with_strengths(job: Job) -> Job:
    """A job under which logistic regression can be fitted, also where its protocol has none."""
    protocol = job.protocol
    return job if protocol.C else replace(job, protocol=replace(protocol, C=_STRENGTHS))


def _null(
    job: Job, store: BagStore, scoring: Scoring, folds: Sequence[Fold], head: BagHead, what: str
) -> dict[str, SplitRecord]:
    said = _fitted(job, store, scoring, folds, head, what, job.head_name if what == "embeddings" else what)[1]
    return {split: scoring.record(part, job.dataset.card)[0] for split, part in said.items()}


def _fitted(
    job: Job, store: BagStore, scoring: Scoring, folds: Sequence[Fold], head: BagHead, what: str, name: str
) -> tuple[list[FittedRun], dict[str, Said]]:
    """Fit a head in every fold; returns its runs, fold after fold, and what it says of each scored split."""
    section: SlideLevel = job.resolved.section
    outcome, read = scoring.outcome(job.dataset.card), _Reader(job, store, what)
    runs = head.runs(job.protocol, section)
    scored = {split: np.sort(np.concatenate([f.scored[split] for f in folds])) for split in folds[0].scored}
    outputs = {split: np.zeros((2, len(runs), len(rows), outcome.outputs)) for split, rows in scored.items()}
    fold_of = {split: np.zeros(len(rows), np.int64) for split, rows in scored.items()}
    measures: dict[str, dict[str, np.ndarray]] = {split: {} for split in scored}
    fitted: list[FittedRun] = []
    with Bar(f"{name} on {job.model if what == 'embeddings' else what}", len(folds), "folds") as bar:
        for number, fold in enumerate(folds):
            train, select = read(fold.train, fold.train), read(fold.select, fold.train)
            data = BagData(train, select, outcome, runs, section, job.how.memory_gb)
            of_fold = head.fit(data, job.protocol)
            for split, rows in fold.scored.items():
                bags, places = read(rows, fold.train), np.searchsorted(scored[split], rows)
                fold_of[split][places] = number
                heads = [run.params for run in of_fold] + [run.last for run in of_fold]
                of_all = head.outputs_of_all(heads, bags).numpy()
                outputs[split][:, :, places] = of_all.reshape(2, len(runs), len(rows), outcome.outputs)
                _measure(measures[split], head, heads[: len(runs)], bags, (places, len(scored[split])))
            if len(folds) > 1:
                of_fold = [replace(run, selected={**run.selected, "fold": number}) for run in of_fold]
            fitted += of_fold
            bar.advance(1)
    said = {}
    for split, rows in scored.items():
        if not np.isfinite(outputs[split][0]).all():
            raise EvaError(
                f"Expected finite outputs on {split}, but {name} on {job.model} gives others: it diverged. "
                "Lower the learning rate, or look at the embeddings."
            )
        said[split] = Said(
            split,
            store.ids[rows],
            store.groups[rows],
            store.targets[rows],
            outputs[split][0],
            outputs[split][1],
            fold_of[split],
            measures[split],
        )
    return fitted, said


def _measure(
    into: dict[str, np.ndarray], head: BagHead, heads: Sequence[Params], bags: Bags, among: tuple[np.ndarray, int]
) -> None:
    """Write what heads measure of each sample of a fold besides its outcome, (R, N) by name.

    Args:
        into: Receives it.
        head: Their class.
        heads: Parameters by run.
        bags: The samples of the fold.
        among: Places of these among all samples that are scored, and how many those are.
    """
    places, n = among
    for run, params in enumerate(heads):
        for name, values in head.measures(params, bags).items():
            into.setdefault(name, np.zeros((len(heads), n)))[run, places] = values.numpy()


def repeated(job: Job, store: BagStore, scoring: Scoring, heads: Heads) -> Iterator[Said]:
    """What finished heads, fold after fold, say of the reported splits of their own dataset."""
    card, every = job.dataset.card, [dict(params) for params in heads.values()]
    strata = scoring.strata(store.targets)
    by_site = _dataset(job).fold_by_site
    folds = divide(store, job.protocol, job.resolved.section, card, strata, scoring.stratified, by_site)[1]
    runs, outputs, read = len(every) // len(folds), scoring.outcome(card).outputs, _Reader(job, store, "embeddings")
    for split in folds[0].scored:
        rows = np.sort(np.concatenate([fold.scored[split] for fold in folds]))
        values, fold_of = np.zeros((runs, len(rows), outputs)), np.zeros(len(rows), np.int64)
        measures: dict[str, np.ndarray] = {}
        for number, fold in enumerate(folds):
            places = np.searchsorted(rows, fold.scored[split])
            fold_of[places] = number
            of_fold, bags = every[number * runs :][:runs], read(fold.scored[split], fold.train)
            of_all = job.head.outputs_of_all(of_fold, bags)
            _measure(measures, job.head, of_fold, bags, (places, len(rows)))
            values[:, places] = of_all.numpy().reshape(runs, len(places), outputs)
        yield Said(split, store.ids[rows], store.groups[rows], store.targets[rows], values, values, fold_of, measures)


def said_by(job: Job, store: BagStore, heads: Heads, targets: np.ndarray) -> Iterator[Said]:
    """What finished heads say of each split of a dataset, whose targets, (samples, ...), may be unknown."""
    for split in dict.fromkeys(store.splits.tolist()):
        rows = store.rows(split)
        bags = StoredBags(store, rows)
        outputs = job.head.outputs_of_all([dict(params) for params in heads.values()], bags).numpy()
        folds = np.zeros(len(rows), np.int64)
        yield Said(split, store.ids[rows], store.groups[rows], targets[rows], outputs, outputs, folds)


def _contamination(job: Job, store: BagStore, scoring: Scoring, said: Said) -> Contamination:
    def rescored(chosen: np.ndarray) -> SplitRecord:
        part = replace(
            said,
            ids=said.ids[chosen],
            groups=said.groups[chosen],
            targets=said.targets[chosen],
            outputs=said.outputs[:, chosen],
            last=said.last[:, chosen],
            folds=said.folds[chosen],
            measures={name: values[:, chosen] for name, values in said.measures.items()},
        )
        return scoring.record(part, job.dataset.card)[0]

    known = seen(job.card, said.ids.tolist(), said.groups.tolist())
    slides = store.slide_names.tolist()
    with_known_slide = store.ids[store.sample_of[seen(job.card, slides, slides)]]
    return marked(job.card, job.dataset.card, known | np.isin(said.ids, with_known_slide), rescored)


def _mpp(job: Job, store: BagStore) -> Magnification:
    """Micrometres per pixel of level 0, and of what reached the model: medians over slides."""
    section: SlideLevel = job.resolved.section
    read = store.facts["side"] * store.facts["slide_mpp"] / section.size
    resize = job.protocol.geometry_for(job.card).resize
    reached = float(np.median(read)) * section.size / resize
    return {"native": float(np.median(store.facts["slide_mpp"])), "reached": reached}
