"""`fit` and `predict`: the nouns of the command line as two functions."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from eva_core import registry
from eva_core.classification.evaluation import Question, evaluate
from eva_core.config.parser import load_protocol, plain, published
from eva_core.contracts import crossing_line, refuse_wrong_samples
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.extraction.embed import Extraction, refuse_skipped
from eva_core.extraction.precision import in_config, settled
from eva_core.files.checksums import Damaged
from eva_core.files.file_names import as_name
from eva_core.files.sealed_records import SEAL
from eva_core.identity import canonical, changed_fields, digest, qualified_name, settings_of, version_of
from eva_core.progress import say
from eva_core.results import record
from eva_core.results.applying import finish, output_of
from eva_core.store.store import Store, StoreKey
from eva_core.task import Answer, AnyHead, Job, Task
from eva_core.types import Backbone, Dataset, DatasetCard, Head, ModelCard

MADE_FROM_PYTHON = "# Made from Python"


def fit(
    model: str | Backbone,
    dataset: str | Dataset,
    head: str | AnyHead | None = None,
    protocol: str | Protocol = "eva-0.4",
    output: str | Path | None = None,
    how: Extraction | None = None,
    config: str | None = None,
    tell: Callable[[str], None] = say,
    name: str | None = None,
) -> dict[str, Any]:
    """Evaluate a model on a dataset.

    Args:
        model: A registered name, the folder of an export, or a backbone.
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
    job = _job(model, dataset, head, protocol, name)
    task = task_of(job.dataset)
    task.refuse(job, how)
    if (line := crossing_line(job.dataset)) is not None:
        tell(line)
    asked = job.protocol
    job = replace(job, protocol=_settled(job.backbone, job.dataset, asked, how, tell))
    if config is not None and job.protocol != asked:
        config = in_config(config, job.protocol)
    key = task.key(job.backbone, job.dataset, job.protocol)
    identity = _identity(job, key.content)
    settings = _settings(job.head, job.protocol, how)
    result_key = digest({**key.content, **identity, **settings})
    folder = Path(output).expanduser() if output else Path("out") / job.dataset.card.name / as_name(job.model)
    done = _finished(folder, result_key, identity, settings)
    if done is None:
        with record.claimed(folder, tell):
            done = _finished(folder, result_key, identity, settings, tell)  # another process may have made it by now
            if done is None:
                stamp = {"key": result_key, "identity": identity, "settings": settings}
                return _fit(job, key, stamp, folder, how, config, tell)
    task.tidy(folder)  # a kill may have come between the result and this
    refuse_skipped(done["skipped"], how)
    tell(f"Already done: {folder}")
    return done


def _fit(
    job: Job,
    key: StoreKey,
    stamp: dict[str, Any],
    folder: Path,
    how: Extraction,
    config: str | None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    task = task_of(job.dataset)
    store = task.extract(key, job.backbone, job.dataset, job.protocol, how, tell)
    answer = task.evaluate(job, store, how, folder, stamp["key"])
    card = asdict(job.backbone.card)
    del card["training_ids"]  # there may be tens of thousands; `contamination` says what they tell of this dataset
    facts = {"weights": job.backbone.provenance, "synthetic": job.dataset.card.synthetic, "card": card}
    classes, device = job.dataset.card.classes, str(store.attributes["device"])
    results = _write(folder, {**stamp, **facts}, answer, config or _config(job), classes, device)
    task.tidy(folder)
    return results


def fit_embeddings(
    store: str | Path,
    head: str | AnyHead | None = None,
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
    built = _head(head or rules.heads[0])
    if not isinstance(built, Head):
        raise UsageError(f"Expected a head for classification, but got {_head_name(built)}.")
    model, dataset = str(opened.attributes["model"]), DatasetCard(content["dataset"], classes=tuple(content["classes"]))
    identity = {
        "model": model,
        "weights_sha256": content["weights_sha256"],
        "preprocess_sha256": digest(content["preprocess"]),
        "dataset": dataset.name,
        "dataset_sha256": content["dataset_sha256"],
        "head": _head_name(built),
        "protocol": rules.title(published(rules.name), _head_name(built), dataset) + "+embeddings=imported",
    }
    settings = _settings(built, rules)
    key = digest({**content, **identity, **settings})
    folder = Path(output).expanduser() if output else Path("out") / dataset.name / as_name(model)
    done = _finished(folder, key, identity, settings)
    if done is None:
        with record.claimed(folder, tell):
            done = _finished(folder, key, identity, settings, tell)
            if done is None:
                answer = evaluate(Question(opened, model, ModelCard(model), dataset, built, _head_name(built), rules))
                config = yaml.safe_dump({"embeddings": str(store), "protocol": plain(rules)}, sort_keys=False)
                card = asdict(ModelCard(model))
                stamp = {"key": key, "identity": identity, "settings": settings, "weights": {}}
                stamp |= {"synthetic": False, "card": card}
                return _write(folder, stamp, answer, config, dataset.classes, str(opened.attributes["device"]))
    tell(f"Already done: {folder}")
    return done


def _write(
    folder: Path, stamp: dict[str, Any], answer: Answer, config: str, classes: Sequence[str], device: str
) -> dict[str, Any]:
    """Write all files of a result; results.json, which vouches for them, last."""
    record.set_aside(folder)
    record.write_config(folder, config)
    record.write_heads(folder / record.HEADS, {run: _arrays(params) for run, params in answer.heads.items()}, classes)
    record.write_predictions(folder, answer.predictions)
    record.write_draws(folder, answer.draws)
    results = {
        **stamp,
        **answer.record,
        "environment": {**record.environment(), "device": device},
    }
    results["cost"]["peak_rss_mb"] = record.peak_rss_mb()
    pictures = [picture["file"] for picture in answer.record.get("overlays", [])]
    record.write_results(folder, results, [*record.RESULT_FILES, *pictures])
    return record.read_results(folder)


def _arrays(params: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in params.items()}


def predict(
    model: str | Backbone,
    dataset: str | Dataset,
    protocol: str | Protocol = "eva-0.4",
    how: Extraction | None = None,
    tell: Callable[[str], None] = say,
) -> Path:
    """Extract the embeddings of a dataset, or its feature maps, and stop there.

    Returns:
        The HDF5 file with `embeddings` (N, D), `ids`, `targets`, `split`, `groups` and `colour_stats` (N, 6); for
        segmentation with `features` (tiles, D, h, w), `images`, `masks` and `tiles`.
    """
    backbone, dataset, protocol = _backbone(model), _dataset(dataset), _protocol(protocol)
    task, how = task_of(dataset), how or Extraction()
    protocol = _settled(backbone, dataset, protocol, how, tell)
    key = task.key(backbone, dataset, protocol)
    return task.extract(key, backbone, dataset, protocol, how, tell).path


def _settled(
    backbone: Backbone, dataset: Dataset, protocol: Protocol, how: Extraction, tell: Callable[[str], None]
) -> Protocol:
    """The protocol with a precision for the device."""
    task = task_of(dataset)

    def there(rules: Protocol) -> bool:
        return task.key(backbone, dataset, rules).path.is_file()

    return settled(protocol, backbone.card, how.device, there, tell)


def apply_heads(
    result: str | Path,
    model: str | Backbone,
    dataset: str | Dataset,
    head: str | AnyHead | None,
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
        output: Folder for the predictions; `out/<dataset>/<model>-predictions` unless given.
    Returns:
        What was written: predictions.parquet, or the folder of masks.
    Raises:
        UsageError: The model or its preprocessing is not the one that the heads were trained on.
    """
    result, how = Path(result), how or Extraction()
    found = record.read_results(result)
    identity = found["identity"]
    classes, params = record.read_heads(result / record.HEADS)
    job = _job(model, dataset, head, protocol)
    task = task_of(job.dataset)
    task.refuse_applying(job)
    key = task.key(job.backbone, job.dataset, job.protocol)
    mine = _identity(job, key.content)
    for what in ("weights_sha256", "preprocess_sha256"):
        if mine[what] != identity[what]:
            raise UsageError(
                f"Expected {what.partition('_')[0]} {identity[what][:12]} as in {result}, but {job.backbone.name} has "
                f"{mine[what][:12]}. Use the model and protocol of that result."
            )
    folder = f"{as_name(job.backbone.name)}-predictions"
    output = Path(output).expanduser() if output else Path("out") / job.dataset.card.name / folder
    job_key = digest({**mine, "result": found[SEAL]})
    with output_of(output, job_key, tell) as done:
        if done is not None:
            return done
        store = task.extract(key, job.backbone, job.dataset, job.protocol, how, tell)
        tensors = {run: {name: torch.from_numpy(value) for name, value in p.items()} for run, p in params.items()}
        return finish(output, job_key, task.apply(job, store, tensors, classes, how, output))


def task_of(dataset: Dataset) -> Task:
    """What `fit` and `predict` do with datasets of this kind."""
    return registry.tasks.build(dataset.card.task)


def _job(
    model: str | Backbone,
    dataset: str | Dataset,
    head: str | AnyHead | None,
    protocol: str | Protocol,
    name: str | None = None,
) -> Job:
    rules, images = _protocol(protocol), _dataset(dataset)
    heads = rules.heads_for(images.card, published(rules.name))
    built = _head(head or heads[0])
    if not isinstance(built, task_of(images).head):
        raise UsageError(
            f"Expected a head for {images.card.task}, but {_head_name(built)} is for another task. "
            f"The protocol defines {' and '.join(heads)} here."
        )
    backbone = _backbone(model)
    return Job(name or backbone.name, backbone, images, rules, _head_name(built), built)


def _head(head: str | AnyHead) -> AnyHead:
    return registry.heads.build(head) if isinstance(head, str) else head


def _backbone(model: str | Backbone) -> Backbone:
    return registry.build_model(model) if isinstance(model, str) else model


def _dataset(dataset: str | Dataset) -> Dataset:
    built = registry.datasets.build(dataset) if isinstance(dataset, str) else dataset
    refuse_wrong_samples(built)
    return built


def _protocol(protocol: str | Protocol) -> Protocol:
    return load_protocol(protocol) if isinstance(protocol, str) else protocol


def _identity(job: Job, content: dict[str, Any]) -> dict[str, str]:
    return {
        "model": job.model,
        "weights_sha256": content["weights_sha256"],
        "preprocess_sha256": digest(content["preprocess"]),
        "dataset": job.dataset.card.name,
        "dataset_sha256": content["dataset_sha256"],
        "head": job.head_name,
        "protocol": job.protocol.title(published(job.protocol.name), job.head_name, job.dataset.card),
    }


def _finished(
    folder: Path,
    key: str,
    identity: dict[str, str],
    settings: dict[str, Any],
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any] | None:
    """The result that was asked for, where it is there and whole.

    Args:
        tell: Receives the reason where it is not whole.
    Raises:
        UsageError: The folder holds another result.
    """
    if not (folder / record.RESULTS).exists():
        return None
    try:
        found = record.read_results(folder)
        if found["key"] == key:
            return record.read_whole_result(folder)
    except Damaged as error:
        if tell is not None:
            tell(f"{str(error).removesuffix(record.AGAIN)}The result is made again.")
        return None
    theirs, ours = _differing({**found["identity"], **found.get("settings", {})}, {**identity, **settings})
    raise UsageError(
        f"{folder} holds another result (key {found['key'][:12]}{theirs}), "
        f"not the one asked for (key {key[:12]}{ours}). Choose another --output."
    )


def _differing(theirs: dict[str, Any], ours: dict[str, Any], of: str = "") -> tuple[str, str]:
    """The fields in which two differ, with the values of each; what one leaves out is the default."""
    said = ["", ""]
    for name in {**theirs, **ours}:
        values = [fields.get(name, "default") for fields in (theirs, ours)]
        if values[0] == values[1]:
            continue
        if all(isinstance(value, dict) for value in values):
            inner = _differing(*values, f"{of}{name}.")
        else:
            inner = tuple(f", {of}{name} {_short(value)}" for value in values)
        said = [before + more for before, more in zip(said, inner, strict=True)]
    return said[0], said[1]


def _short(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:40]


def _head_name(head: AnyHead) -> str:
    """Its registered name, then every argument that is not the default: `simpleshot(shots=4)`."""
    name = getattr(head, "registered_name", None) or registry.heads.name_of(registry.class_path_of(head))
    return registry.described(name, settings_of(head))


def _settings(head: AnyHead, protocol: Protocol, how: Extraction | None = None) -> dict[str, Any]:
    """What decides a result besides the images and the model, as JSON gives it back."""
    settings = {
        "head_settings": {"class": qualified_name(head), "version": version_of(head), **settings_of(head)},
        "protocol_settings": changed_fields(protocol),
        **({"online": how.online} if how is not None and how.online is not None else {}),
    }
    return json.loads(canonical(settings))


def _config(job: Job) -> str:
    """The nearest thing to a configuration for objects that were built in Python: their arguments are not known."""
    parts = {"model": job.backbone, "dataset": job.dataset, "head": job.head}
    content = {name: {"class_path": registry.class_path_of(thing)} for name, thing in parts.items()}
    head = f"{MADE_FROM_PYTHON}: classes without their arguments. To apply these heads, use eva_core.api.apply_heads.\n"
    return head + yaml.safe_dump({**content, "protocol": plain(job.protocol)}, sort_keys=False)
