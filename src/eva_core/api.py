"""`fit` and `predict`: the nouns of the command line as two functions."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from eva_core import record, registry
from eva_core.config import load_protocol, plain, published
from eva_core.embeddings import Store, digest
from eva_core.errors import UsageError
from eva_core.extract import Extraction, extract, preprocessing, store_key
from eva_core.holdout import hold_out, near_duplicates
from eva_core.metrics import probabilities
from eva_core.progress import Bar, say
from eva_core.protocol import Protocol
from eva_core.types import Backbone, Dataset, Embedded, FittedRun, Head

HELD_OUT = ("val", "test")
COLOUR = "colour_stats"


@dataclass(frozen=True)
class Job:
    """A model, a dataset, a head and a protocol, each with the name that results carry."""

    backbone: Backbone
    dataset: Dataset
    protocol: Protocol
    head_name: str
    head: Head


def fit(
    model: str | Backbone,
    dataset: str | Dataset,
    head: str | Head | None = None,
    protocol: str | Protocol = "eva-0.4",
    output: str | Path | None = None,
    how: Extraction | None = None,
    config: str | None = None,
    tell: Callable[[str], None] = say,
) -> dict[str, Any]:
    """Evaluate a model on a dataset.

    Args:
        model: A registered name, or a backbone.
        dataset: A registered name, or a dataset.
        head: A registered name, or a head; the protocol's first unless given.
        protocol: A name under `configs/protocols`, or a protocol.
        output: Folder for the result; `out/<dataset>/<model>` unless given.
        how: Device, batch size and the like.
        config: The resolved configuration as YAML, saved beside the result.
        tell: Receives lines for the user.
    Returns:
        The content of results.json.
    Raises:
        UsageError: The folder holds another result, or the dataset lacks labels or splits.
        EvaError: An image, the weights or an embedding is bad.
    """
    how = how or Extraction()
    job = _job(model, dataset, head, protocol)
    _refuse_unlabelled(job.dataset)
    key = store_key(job.backbone, job.dataset, job.protocol)
    identity = _identity(job, key.content)
    result_key = digest({**key.content, **identity, "head": _arguments(job.head), "protocol": plain(job.protocol)})
    folder = Path(output) if output else Path("out") / job.dataset.card.name / job.backbone.name
    done = _finished(folder, result_key, identity)
    if done is not None:
        tell(f"Already done: {folder}")
        return done

    store = extract(key, job.backbone, job.dataset, job.protocol, how, tell)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    plan = _plan(store, job.protocol, job.dataset)
    runs = _fit_head(job, store, plan, "embeddings")
    splits, predictions = _score(job, store, plan, runs, "embeddings")
    fit_s = time.monotonic() - started
    colour_splits = splits
    if job.backbone.name != COLOUR:
        colour_splits, _ = _score(job, store, plan, _fit_head(job, store, plan, COLOUR), COLOUR)

    main_split = plan.reported[-1]
    metric = job.dataset.card.metric
    main = splits[main_split]["metrics"][metric]
    results = {
        "schema": record.SCHEMA,
        "key": result_key,
        "identity": identity,
        "synthetic": job.dataset.card.synthetic,
        "main": {
            "split": main_split,
            "metric": metric,
            **{k: main[k] for k in ("mean", "std", "ci95")},
            "selected_on": plan.selected_on,
        },
        "selection": plan.selection,
        "splits": splits,
        "baselines": {COLOUR: {"splits": colour_splits}},
        "selected": [{"run": r.run, "value": r.selected_value, **r.selected} for r in runs],
        "skipped": store.skipped,
        "environment": {**record.environment(), "device": store.attributes["device"]},
        "cost": {
            "embed_s": float(store.attributes["embed_s"]),
            "images_per_s": float(store.attributes["images_per_s"]),
            "fit_s": fit_s,
            "peak_rss_mb": record.peak_rss_mb(),
        },
    }
    classes = job.dataset.card.classes
    (folder / record.CONFIG).write_text(config or _config(job), encoding="utf-8")
    record.write_predictions(folder / record.PREDICTIONS, predictions, classes, [r.run for r in runs])
    record.write_heads(folder / record.HEADS, runs, classes)
    record.write_results(folder, results)
    return record.read_results(folder)


def predict(
    model: str | Backbone,
    dataset: str | Dataset,
    protocol: str | Protocol = "eva-0.4",
    how: Extraction | None = None,
    tell: Callable[[str], None] = say,
) -> Path:
    """Extract the embeddings of a dataset and stop there.

    Returns:
        The HDF5 file with `embeddings` (N, D), `ids`, `targets`, `split`, `groups` and `colour_stats` (N, 6).
    """
    backbone, dataset, protocol = _backbone(model), _dataset(dataset), _protocol(protocol)
    return extract(store_key(backbone, dataset, protocol), backbone, dataset, protocol, how or Extraction(), tell).path


def apply_heads(
    result: str | Path,
    model: str | Backbone,
    dataset: str | Dataset,
    head: str | Head | None,
    protocol: str | Protocol,
    output: str | Path | None = None,
    how: Extraction | None = None,
    tell: Callable[[str], None] = say,
) -> Path:
    """Apply the heads of a finished result to other images.

    Args:
        result: Folder that `fit` wrote.
        model: The model of that result.
        dataset: The images; labels are not needed.
        head: The head of that result.
        output: Folder for predictions.parquet; `out/<dataset>/<model>-predictions` unless given.
    Returns:
        The path of predictions.parquet.
    Raises:
        UsageError: The model or its preprocessing is not the one that the heads were trained on.
    """
    result = Path(result)
    identity = record.read_results(result)["identity"]
    classes, params = record.read_heads(result / record.HEADS)
    job = _job(model, dataset, head, protocol)
    key = store_key(job.backbone, job.dataset, job.protocol)
    mine = _identity(job, key.content)
    for what in ("weights_sha256", "preprocess_sha256"):
        if mine[what] != identity[what]:
            raise UsageError(
                f"Expected {what.partition('_')[0]} {identity[what][:12]} as in {result}, but {job.backbone.name} has "
                f"{mine[what][:12]}. Use the model and protocol of that result."
            )
    store = extract(key, job.backbone, job.dataset, job.protocol, how or Extraction(), tell)
    output = Path(output) if output else Path("out") / job.dataset.card.name / f"{job.backbone.name}-predictions"
    parts = []
    for split in dict.fromkeys(store.splits.tolist()):
        rows = store.rows(split)
        x = torch.from_numpy(store.read(rows))
        scores = np.stack([probabilities(job.head.logits(p, x)).numpy() for p in params.values()])
        targets = _translated(store.targets[rows], job.dataset.card.classes, classes)
        parts.append((split, store.ids[rows], targets, scores))
    output.mkdir(parents=True, exist_ok=True)
    record.write_predictions(output / record.PREDICTIONS, parts, classes, list(params))
    return output / record.PREDICTIONS


@dataclass(frozen=True)
class Plan:
    """Which rows of the store teach, which select, which are reported."""

    train: np.ndarray
    select: np.ndarray
    reported: tuple[str, ...]
    selected_on: str
    selection: str


def _plan(store: Store, protocol: Protocol, dataset: Dataset) -> Plan:
    train = store.rows("train")
    reported = tuple(split for split in HELD_OUT if len(store.rows(split)))
    name = dataset.card.name
    if not len(train):
        raise UsageError(f"Expected a train split in dataset {name!r}, but it has none.")
    if not reported:
        raise UsageError(f"Expected a val or test split in dataset {name!r}, but it has none.")
    if protocol.selection == "heldout":
        on = reported[0]
        how = on if len(reported) > 1 else f"{on}, which is also reported: optimistic"
        return Plan(train, store.rows(on), reported, on, how)
    groups = store.groups[train]
    grouped = bool((groups != "").any())
    if grouped:
        groups = np.where(groups == "", store.ids[train], groups)  # an image without a group is a group of its own
    else:
        groups = near_duplicates(store.read(train, "signature"))
    held = hold_out(store.targets[train], groups, protocol.holdout, protocol.seed)
    how = "group" if grouped else "clusters of near-duplicates, as the dataset names no groups"
    if not held.any() or held.all():
        raise UsageError(f"Expected several groups in the train split of {name!r} to hold some out, but it has one.")
    text = f"{held.mean():.0%} of train, held out by {how}"
    return Plan(train[~held], train[held], reported, "holdout", text)


def _fit_head(job: Job, store: Store, plan: Plan, what: str) -> list[FittedRun]:
    train, select = store.embedded(plan.train, what), store.embedded(plan.select, what)
    card = job.dataset.card
    runs = range(job.protocol.runs if job.head.seeded else 1)
    title = f"{job.head_name} on {job.backbone.name if what == 'embeddings' else what}"
    with Bar(title, 1, "steps") as bar:
        return job.head.fit(
            train,
            select,
            len(card.classes),
            job.protocol,
            runs,
            metric=card.metric,
            patience=job.protocol.patience.get(card.name),
            progress=bar.update,
        )


def _score(
    job: Job, store: Store, plan: Plan, runs: Sequence[FittedRun], what: str
) -> tuple[dict[str, Any], list[tuple[str, Sequence[str], np.ndarray, np.ndarray]]]:
    """The record of each reported split, and the scores behind it."""
    splits, parts = {}, []
    for split in plan.reported:
        rows = store.rows(split)
        data: Embedded = store.embedded(rows, what)
        selected, last = (
            np.stack([probabilities(job.head.logits(params, data.x)).numpy() for params in versions])
            for versions in ([r.params for r in runs], [r.last for r in runs])
        )
        groups = store.groups[rows]
        known = [g or None for g in groups.tolist()] if (groups != "").any() else None
        targets = store.targets[rows]
        splits[split] = record.split_record(selected, last, targets, job.dataset.card.classes, known)
        parts.append((split, store.ids[rows], targets, selected))
    return splits, parts


def _job(model: str | Backbone, dataset: str | Dataset, head: str | Head | None, protocol: str | Protocol) -> Job:
    protocol = _protocol(protocol)
    head = head or protocol.heads[0]
    built = registry.heads.build(head) if isinstance(head, str) else head
    name = head if isinstance(head, str) else registry.heads.name_of(registry.class_path_of(head))
    return Job(_backbone(model), _dataset(dataset), protocol, name, built)


def _backbone(model: str | Backbone) -> Backbone:
    return registry.build_model(model) if isinstance(model, str) else model


def _dataset(dataset: str | Dataset) -> Dataset:
    return registry.datasets.build(dataset) if isinstance(dataset, str) else dataset


def _protocol(protocol: str | Protocol) -> Protocol:
    return load_protocol(protocol) if isinstance(protocol, str) else protocol


def _identity(job: Job, content: dict[str, Any]) -> dict[str, str]:
    return {
        "model": job.backbone.name,
        "weights_sha256": content["weights_sha256"],
        "preprocess_sha256": digest(preprocessing(job.protocol, job.backbone.card)),
        "dataset": job.dataset.card.name,
        "dataset_sha256": content["dataset_sha256"],
        "head": job.head_name,
        "protocol": job.protocol.title(published(job.protocol.name), job.head_name),
    }


def _finished(folder: Path, key: str, identity: dict[str, str]) -> dict[str, Any] | None:
    if not (folder / record.RESULTS).exists():
        return None
    found = record.read_results(folder)
    if found["key"] == key:
        return found
    differing = [k for k, v in found["identity"].items() if v != identity.get(k)]
    theirs, ours = (_pairs({k: i[k] for k in differing if k in i}) for i in (found["identity"], identity))
    raise UsageError(
        f"{folder} holds another result (key {found['key'][:12]}{theirs}), "
        f"not the one asked for (key {key[:12]}{ours}). Choose another --output."
    )


def _pairs(values: dict[str, str]) -> str:
    return "".join(f", {k} {v[:40]}" for k, v in values.items())


def _refuse_unlabelled(dataset: Dataset) -> None:
    bare = [s.id for s in dataset.samples if s.target is None]
    if bare:
        raise UsageError(
            f"Expected a label for every image, but {len(bare)} have none, first {bare[0]!r}. "
            "Label them, or apply finished heads with `eva predict --head RESULT`."
        )
    if len(dataset.card.classes) < 2:
        raise UsageError(f"Expected at least 2 classes in {dataset.card.name!r}, but got {len(dataset.card.classes)}.")


def _translated(targets: np.ndarray, theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray:
    """Targets in the class order of the head; -1 where the head does not know the class."""
    table = np.array([*(ours.index(c) if c in ours else -1 for c in theirs), -1])
    return table[targets]


def _arguments(head: Head) -> dict[str, Any]:
    return {"class": registry.class_path_of(head), **{k: v for k, v in vars(head).items() if not k.startswith("_")}}


def _config(job: Job) -> str:
    """The nearest thing to a configuration for objects that were built in Python: their arguments are not known."""
    parts = {"model": job.backbone, "dataset": job.dataset, "head": job.head}
    content = {name: {"class_path": registry.class_path_of(thing)} for name, thing in parts.items()}
    head = "# Made from Python: classes without their arguments. To apply these heads, use eva_core.api.apply_heads.\n"
    return head + yaml.safe_dump({**content, "protocol": plain(job.protocol)}, sort_keys=False)
