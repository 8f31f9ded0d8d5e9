"""How much the embeddings of models tell of the site, beside the class: from the store, one record a model."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from eva_core.api import extract_job
from eva_core.config.jobs import with_head
from eva_core.contracts.dataset import Dataset
from eva_core.contracts.metric import Metric
from eva_core.errors import some
from eva_core.evaluation.site_bias import KS
from eva_core.job import Job
from eva_core.progress import Bar, say
from eva_core.statistics.intervals import Measure, interval
from eva_core.store.store import Store
from eva_core.task import task_named
from eva_vision.robustness.contracts import Benchmark
from eva_vision.robustness.drops import drops
from eva_vision.robustness.images import KIND, Images, benchmark_of, embeddings, images_of, refuse_unfit
from eva_vision.robustness.index import Scope, best_k, class_accuracy, counted, site_accuracy, weighed
from eva_vision.robustness.left_out import left_out
from eva_vision.robustness.margin import M, Margins, margins
from eva_vision.robustness.published import beside
from eva_vision.robustness.schema import SCHEMA, ModelRecord, Robustness, Value
from eva_vision.robustness.typed_neighbours import neighbours

MARGIN = ("croma", "croma_ltm10", "croma_f0")
_FACTS = {"croma": Metric(bounds=(-1, 1)), "croma_ltm10": Metric(bounds=(-1, 1))}


def study(
    jobs: Sequence[Job], leave_site_out: bool = False, resamplings: int = 0, tell: Callable[[str], None] = say
) -> Robustness:
    """Measure some models on one dataset.

    Args:
        jobs: A job for each model, all of the same dataset.
        leave_site_out: Score each site by a head that is fitted on all others, too.
        resamplings: How often slides are drawn for the average performance drop; 0: it is not measured.
        tell: Receives lines for the user.
    Returns:
        The content of robustness.json.
    Raises:
        UsageError: The dataset has one site or one class; nothing was extracted then.
        EvaError: An image cannot be read, or an embedding is not finite.
    """
    dataset = jobs[0].dataset
    refuse_unfit(dataset)
    benchmark = benchmark_of(dataset)
    models = []
    for job in jobs:
        store = Store(extract_job(job, tell))
        images = images_of(store, benchmark)
        x = embeddings(store, images.rows)
        with Bar(f"neighbours of {job.model}"):
            record = of_model(job, x, images, benchmark)
        if leave_site_out:
            record["left_out"] = left_out(job if job.head else with_head(job, jobs[0].head), store)
        if resamplings:
            _add_drops(record, store, benchmark, resamplings)
        models.append(record)
    return {**_about(images, dataset), "models": models}


def _add_drops(record: ModelRecord, store: Store, benchmark: Benchmark, resamplings: int) -> None:
    with Bar(f"probes of {record['model']}", 1, "fits") as bar:
        found = drops(store, benchmark, resamplings, bar.update)
    if isinstance(found, str):
        record["notes"].append(found)
    else:
        record["drops"] = found


def of_model(job: Job, x: NDArray[np.float32], images: Images, benchmark: Benchmark) -> ModelRecord:
    """Measure one model from its embeddings (N, D)."""
    scopes = [_scope(x, images, part, benchmark.k or max(KS)) for part in images.parts]
    k = benchmark.k or best_k(scopes, KS)
    index, (margin_aware, tau) = counted(scopes, k), weighed(scopes, k)
    values = with_intervals(
        {"robustness_index": index.value, "mari": margin_aware.value},
        [index.measure("robustness_index"), margin_aware.measure("mari")],
        [images.groups[row] for scope in scopes for row in scope.rows],
    )
    whole = scopes[0] if len(scopes) == 1 else _scope(x, images, np.arange(len(x)), 1)
    found = margins(whole.near.so, whole.near.os)
    values |= _margin_values(found, images.groups)
    return {
        "model": job.model,
        "weights_sha256": task_named(KIND).key(job).content["weights_sha256"],
        "preprocess": job.resolved.title,
        "dim": x.shape[1],
        "k": k,
        "tau": tau,
        "support": index.support,
        "class_accuracy": float(np.mean([class_accuracy(scope, k) for scope in scopes])),
        "site_accuracy": float(np.mean([site_accuracy(scope, k) for scope in scopes])),
        "values": values,
        "published": beside(job.model, job.card, job.protocol, benchmark, values),
        "notes": _notes(scopes, k, found),
    }


def _scope(x: NDArray[np.float32], images: Images, part: NDArray[np.intp], k: int) -> Scope:
    labels = images.labels.of(part)
    return Scope(part, labels, neighbours(x[part] if len(part) < len(x) else x, labels, k, M))


def _margin_values(found: Margins, groups: Sequence[str | None]) -> dict[str, Value]:
    if found.lacking or found.copies:  # of the other images alone it would not compare with that of another model
        return {name: {"value": None, "ci95": None} for name in MARGIN}
    exact = found.measure(np.ones((1, len(found.values))))
    return with_intervals({name: float(exact[name][0]) for name in MARGIN}, [found.measure], groups, _FACTS)


def with_intervals(
    exact: Mapping[str, float | None],
    measures: Sequence[Measure],
    groups: Sequence[str | None],
    facts: Mapping[str, Metric] | None = None,
) -> dict[str, Value]:
    """Values with their intervals: the groups that ask for neighbours are drawn, those that are asked stay.

    Args:
        exact: The values by metric.
        measures: What gives them under weights of the images.
        groups: Group of each image; None where it is not known.
        facts: Bounds of the metrics that are not between 0 and 1.
    """

    def all_of(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {name: drawn for measure in measures for name, drawn in measure(weights).items()}

    drawn = interval([all_of], len(groups), groups, metrics=facts or {})
    values: dict[str, Value] = {}
    for name, value in exact.items():
        values[name] = {"value": value, "ci95": None if value is None else drawn.ci95[name]}
        if drawn.t95 is not None:
            values[name]["t95"] = drawn.t95[name]
    return values


def _notes(scopes: Sequence[Scope], k: int, found: Margins) -> list[str]:
    notes = []
    if counted(scopes, k).value is None:
        notes.append(f"no index: none of the {k} nearest of any image shares exactly one of class and site with it")
    few = sum(int((scope.near.rows[:, :k] < 0).any(1).sum()) for scope in scopes)
    if few:
        notes.append(f"{few:,} images have fewer than {k} others of other groups: the index counts those there are")
    copies = sum(int((scope.near.distances[:, 0] == 0).sum()) for scope in scopes)
    if copies:
        notes.append(f"{copies:,} images have the embedding of one of another group, as copies have")
    if found.lacking:
        notes.append(
            f"no CRoMa: {found.lacking:,} images have fewer than {M} of other groups that are of their class at other "
            "sites, or of other classes at theirs"
        )
    elif found.copies:
        notes.append(f"no CRoMa: the nearest of both kinds are copies for {found.copies:,} images")
    return notes


def _about(images: Images, dataset: Dataset) -> Robustness:
    card, labels = dataset.card, images.labels
    cells = Counter(zip(labels.sites.tolist(), labels.classes.tolist(), strict=True))
    at_one = [
        name for label, name in enumerate(card.classes) if len({site for site, known in cells if known == label}) == 1
    ]
    known = any(images.groups)
    notes = [] if known else ["no groups are known: neighbours may be of the same slide, and intervals are optimistic"]
    if at_one:
        notes.append(f"at one site alone: {some(at_one)}; no neighbour of these classes is at another")
    about = {
        "schema": SCHEMA,
        "dataset": card.name,
        "synthetic": card.synthetic,
        "n": len(images.rows),
        "n_groups": len(set(labels.groups.tolist())),
        "parts": len(images.parts),
        "interval": "group" if known else "image-level, optimistic",
        "sites": {
            site: {name: cells[number, label] for label, name in enumerate(card.classes)}
            for number, site in enumerate(images.sites)
        },
        "notes": notes,
    }
    return cast(Robustness, about)
