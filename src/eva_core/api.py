"""`fit` and `predict`: the nouns of the command line as two functions."""

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from eva_core import record, registry
from eva_core.config import load_protocol, plain, published
from eva_core.embeddings import Store, digest
from eva_core.errors import UsageError
from eva_core.evaluation import Question, evaluate, reported_splits
from eva_core.extract import Extraction, extract, preprocessing, refuse_skipped, store_key
from eva_core.metrics import probabilities
from eva_core.progress import say
from eva_core.protocol import Protocol
from eva_core.types import Backbone, Dataset, DatasetCard, Head, ModelCard

MADE_FROM_PYTHON = "# Made from Python"


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
    name: str | None = None,
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
        name: What the result calls the model; its own name unless given.
    Returns:
        The content of results.json.
    Raises:
        UsageError: The folder holds another result, or the dataset lacks labels or splits.
        EvaError: An image, the weights or an embedding is bad.
    """
    how = how or Extraction()
    job = _job(model, dataset, head, protocol)
    _refuse_unfit(job.dataset)
    key = store_key(job.backbone, job.dataset, job.protocol)
    identity = {**_identity(job, key.content), **({"model": name} if name else {})}
    result_key = digest({**key.content, **identity, "head": _arguments(job.head), "protocol": plain(job.protocol)})
    folder = Path(output) if output else Path("out") / job.dataset.card.name / job.backbone.name
    done = _finished(folder, result_key, identity)
    if done is not None:
        refuse_skipped(done["skipped"], how)
        tell(f"Already done: {folder}")
        return done

    store = extract(key, job.backbone, job.dataset, job.protocol, how, tell)
    card = job.backbone.card
    question = Question(store, identity["model"], card, job.dataset.card, job.head, job.head_name, job.protocol)
    stamp = {"key": result_key, "identity": identity, "weights": job.backbone.provenance}
    return _write(folder, stamp, question, config or _config(job), job.dataset.report)


def fit_embeddings(
    store: str | Path,
    head: str | Head | None = None,
    protocol: str | Protocol = "eva-0.4",
    output: str | Path | None = None,
    tell: Callable[[str], None] = say,
) -> dict[str, Any]:
    """Evaluate embeddings that `eva import` read; without the images there is no colour baseline.

    Args:
        store: The file that `eva import` printed.
        head: As in `fit`, like all others.
    Returns:
        The content of results.json.
    """
    if not Path(store).is_file():
        raise UsageError(f"Expected a store that `eva import` made, but {store} does not exist.")
    opened, rules = Store(Path(store)), _protocol(protocol)
    content = json.loads(opened.attributes["identity"])
    if not opened.imported:
        raise UsageError(f"Expected a store that `eva import` made, but got {store}. Use --model and --dataset.")
    built = _head(head, rules)
    model, dataset = str(opened.attributes["model"]), DatasetCard(content["dataset"], classes=tuple(content["classes"]))
    identity = {
        "model": model,
        "weights_sha256": content["weights_sha256"],
        "preprocess_sha256": digest(content["preprocess"]),
        "dataset": dataset.name,
        "dataset_sha256": content["dataset_sha256"],
        "head": _head_name(built),
        "protocol": rules.title(published(rules.name), _head_name(built)) + "+embeddings=imported",
    }
    key = digest({**content, **identity, "head": _arguments(built), "protocol": plain(rules)})
    folder = Path(output) if output else Path("out") / dataset.name / model
    done = _finished(folder, key, identity)
    if done is not None:
        tell(f"Already done: {folder}")
        return done
    question = Question(opened, model, ModelCard(model), dataset, built, _head_name(built), rules)
    config = yaml.safe_dump({"embeddings": str(store), "protocol": plain(rules)}, sort_keys=False)
    return _write(folder, {"key": key, "identity": identity, "weights": {}}, question, config, lambda _: {})


def _write(
    folder: Path,
    stamp: dict[str, Any],
    question: Question,
    config: str,
    report: Callable[[Sequence[record.Predictions]], dict[str, Any]],
) -> dict[str, Any]:
    """Answer, and write all files of a result; results.json last."""
    answer = evaluate(question)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / record.CONFIG).write_text(config, encoding="utf-8")
    classes, runs = question.dataset.classes, [r.run for r in answer.runs]
    params = {r.run: {name: value.numpy() for name, value in r.params.items()} for r in answer.runs}
    record.write_predictions(folder / record.PREDICTIONS, answer.predictions, classes, runs)
    record.write_heads(folder / record.HEADS, params, classes)
    np.save(folder / record.DRAWS, answer.draws.astype(np.float32))
    results = {
        "schema": record.SCHEMA,
        **stamp,
        "synthetic": question.dataset.synthetic,
        "card": asdict(question.model_card),
        **answer.record,
        "report": report(answer.predictions),
        "environment": {**record.environment(), "device": question.store.attributes["device"]},
    }
    results["cost"]["peak_rss_mb"] = record.peak_rss_mb()
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
    output = Path(output) if output else Path("out") / job.dataset.card.name / f"{job.backbone.name}-predictions"
    if (output / record.PREDICTIONS).exists():
        raise UsageError(f"Expected a folder without predictions, but {output} has some. Choose another --output.")
    store = extract(key, job.backbone, job.dataset, job.protocol, how or Extraction(), tell)
    tensors = [{name: torch.from_numpy(value) for name, value in run.items()} for run in params.values()]
    parts = []
    for split in dict.fromkeys(store.splits.tolist()):
        rows = store.rows(split)
        x = torch.from_numpy(store.read(rows))
        scores = np.stack([probabilities(job.head.logits(p, x)).numpy() for p in tensors])
        targets = _translated(store.targets[rows], job.dataset.card.classes, classes)
        parts.append(record.Predictions(split, store.ids[rows], store.groups[rows], targets, scores))
    output.mkdir(parents=True, exist_ok=True)
    record.write_predictions(output / record.PREDICTIONS, parts, classes, list(params))
    return output / record.PREDICTIONS


def _job(model: str | Backbone, dataset: str | Dataset, head: str | Head | None, protocol: str | Protocol) -> Job:
    protocol = _protocol(protocol)
    built = _head(head, protocol)
    return Job(_backbone(model), _dataset(dataset), protocol, _head_name(built), built)


def _head(head: str | Head | None, protocol: Protocol) -> Head:
    head = head or protocol.heads[0]
    return registry.heads.build(head) if isinstance(head, str) else head


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


def _refuse_unfit(dataset: Dataset) -> None:
    """What cannot be fitted is refused before anything is extracted."""
    if dataset.samples:
        reported_splits((s.split for s in dataset.samples), dataset.card)
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


def _head_name(head: Head) -> str:
    """Its registered name, then every argument that is not the default: `simpleshot(shots=4)`."""
    name = registry.heads.name_of(registry.class_path_of(head))
    defaults = {p.name: p.default for p in inspect.signature(type(head)).parameters.values()}
    return registry.described(name, {k: v for k, v in vars(head).items() if k in defaults and v != defaults[k]})


def _arguments(head: Head) -> dict[str, Any]:
    return {"class": registry.class_path_of(head), **{k: v for k, v in vars(head).items() if not k.startswith("_")}}


def _config(job: Job) -> str:
    """The nearest thing to a configuration for objects that were built in Python: their arguments are not known."""
    parts = {"model": job.backbone, "dataset": job.dataset, "head": job.head}
    content = {name: {"class_path": registry.class_path_of(thing)} for name, thing in parts.items()}
    head = f"{MADE_FROM_PYTHON}: classes without their arguments. To apply these heads, use eva_core.api.apply_heads.\n"
    return head + yaml.safe_dump({**content, "protocol": plain(job.protocol)}, sort_keys=False)
