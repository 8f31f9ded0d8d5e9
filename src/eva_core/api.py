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
from eva_core.config.protocols import heads_of, load_protocol, plain, resolve
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import DatasetCard, ModelCard
from eva_core.contracts.checks import crossing_line, refuse_wrong_samples
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.extraction.engine import refuse_skipped
from eva_core.extraction.precision import in_config, settled
from eva_core.extraction.settings import Extraction
from eva_core.files.file_names import as_name
from eva_core.files.sealed_records import SEAL
from eva_core.identity import canonical, digest, qualified_name, settings_of, version_of
from eva_core.job import Answer, Job
from eva_core.progress import say
from eva_core.results import record
from eva_core.results.applying import finish, output_of
from eva_core.results.finished import finished
from eva_core.store.store import Store, StoreKey
from eva_core.task import task_named

MADE_FROM_PYTHON = "# Made from Python"


def fit(
    model: str | Backbone,
    dataset: str | Dataset,
    head: Any = None,
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
        head: A registered name, or a head of the task's kind; the protocol's first unless given.
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
    job = _job(model, dataset, head, protocol, how, name)
    task = task_named(job.dataset.card.task)
    task.check(job)
    if (line := crossing_line(job.dataset)) is not None:
        tell(line)
    asked = job.protocol
    job = _settled(job, tell)
    if config is not None and job.protocol != asked:
        config = in_config(config, job.protocol)
    key = task.key(job)
    identity = _identity(job, key.content)
    settings = _settings(job)
    result_key = digest({**key.content, **identity, **settings})
    folder = Path(output).expanduser() if output else Path("out") / job.dataset.card.name / as_name(job.model)
    done = finished(folder, result_key, identity, settings)
    if done is None:
        with record.claimed(folder, tell):
            done = finished(folder, result_key, identity, settings, tell)  # another process may have made it by now
            if done is None:
                stamp = {"key": result_key, "task": job.dataset.card.task, "identity": identity, "settings": settings}
                return _fit(job, key, stamp, folder, config, tell)
    task.tidy(folder)  # a kill may have come between the result and this
    refuse_skipped(done["skipped"], how)
    tell(f"Already done: {folder}")
    return done


def _fit(
    job: Job,
    key: StoreKey,
    stamp: dict[str, Any],
    folder: Path,
    config: str | None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    task = task_named(job.dataset.card.task)
    store = task.extract(key, job, tell)
    answer = task.evaluate(job, store, folder, stamp["key"])
    card = asdict(job.card)
    del card["training_ids"]  # there may be tens of thousands; `contamination` says what they tell of this dataset
    facts = {"weights": job.backbone.provenance, "synthetic": job.dataset.card.synthetic, "card": card}
    classes, device = job.dataset.card.classes, str(store.attributes["device"])
    results = _write(folder, {**stamp, **facts}, answer, config or _config(job), classes, device)
    task.tidy(folder)
    return results


def fit_embeddings(
    store: str | Path,
    head: Any = None,
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
    images = Imported(DatasetCard(content["dataset"], classes=tuple(content["classes"])))
    job = _job(NoBackbone(ModelCard(str(opened.attributes["model"]))), images, head, rules, Extraction())
    identity = _identity(job, content)
    identity["protocol"] += "+embeddings=imported"
    settings = _settings(job)
    key = digest({**content, **identity, **settings})
    folder = Path(output).expanduser() if output else Path("out") / images.card.name / as_name(job.model)
    done = finished(folder, key, identity, settings)
    if done is None:
        with record.claimed(folder, tell):
            done = finished(folder, key, identity, settings, tell)
            if done is None:
                answer = task_named(images.card.task).evaluate(job, opened, folder, key)
                config = yaml.safe_dump({"embeddings": str(store), "protocol": plain(rules)}, sort_keys=False)
                stamp = {"key": key, "task": images.card.task, "identity": identity, "settings": settings}
                facts = {"weights": {}, "synthetic": False, "card": asdict(job.card)}
                classes, device = images.card.classes, str(opened.attributes["device"])
                return _write(folder, {**stamp, **facts}, answer, config, classes, device)
    tell(f"Already done: {folder}")
    return done


class Imported(Dataset):
    """Labels of embeddings that another program made: there are no images."""

    def __init__(self, card: DatasetCard) -> None:
        self.card, self.samples = card, []

    def image(self, sample: Sample) -> np.ndarray:
        raise UsageError(f"Expected no question about the images of {self.card.name}: its embeddings were imported.")


class NoBackbone(Backbone):
    """Stands for the model of embeddings that another program made."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise UsageError(f"Expected no images for {self.name}: its embeddings were imported.")

    def feature_map(self, images: torch.Tensor, layers: Sequence[int] | None = None) -> torch.Tensor:
        return self.forward(images)


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
    pictures = [picture["file"] for picture in task_named(stamp["task"]).pictures(results)]
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
        The HDF5 file. Of embeddings it has `embeddings` (N, D), `ids`, `targets`, `split`, `groups` and `colour_stats`
        (N, 6); what other kinds of task keep is theirs to say.
    """
    backbone, images, rules = _backbone(model), _dataset(dataset), _protocol(protocol)
    task = task_named(images.card.task)
    rules_here = resolve(rules, images.card)
    job = Job(backbone.name, backbone.card, backbone, images, "", None, rules, rules_here, how or Extraction())
    job = _settled(job, tell)
    return task.extract(task.key(job), job, tell).path


def _settled(job: Job, tell: Callable[[str], None]) -> Job:
    """The job with a precision for the device."""
    task = task_named(job.dataset.card.task)

    def there(protocol: Protocol) -> bool:
        return task.key(replace(job, protocol=protocol)).path.is_file()

    protocol = settled(job.protocol, job.card, job.how.device, there, tell)
    if protocol == job.protocol:
        return job
    return replace(job, protocol=protocol, resolved=resolve(protocol, job.dataset.card, job.head_name or None))


def apply_heads(
    result: str | Path,
    model: str | Backbone,
    dataset: str | Dataset,
    head: Any,
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
        What was written, as the task says.
    Raises:
        UsageError: The model or its preprocessing is not the one that the heads were trained on.
    """
    result, how = Path(result), how or Extraction()
    found = record.read_results(result)
    identity = found["identity"]
    classes, params = record.read_heads(result / record.HEADS)
    job = _job(model, dataset, head, protocol, how)
    task = task_named(job.dataset.card.task)
    task.check_applying(job)
    key = task.key(job)
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
        store = task.extract(key, job, tell)
        tensors = {run: {name: torch.from_numpy(value) for name, value in p.items()} for run, p in params.items()}
        return finish(output, job_key, task.apply(job, store, tensors, classes, output))


def _job(
    model: str | Backbone,
    dataset: str | Dataset,
    head: Any,
    protocol: str | Protocol,
    how: Extraction,
    name: str | None = None,
) -> Job:
    rules, images = _protocol(protocol), _dataset(dataset)
    heads = heads_of(rules, images.card)
    built = _head(head or heads[0])
    if not task_named(images.card.task).takes(built):
        raise UsageError(
            f"Expected a head for {images.card.task}, but {_head_name(built)} is for another task. "
            f"The protocol defines {' and '.join(heads)} here."
        )
    backbone, head_name = _backbone(model), _head_name(built)
    ours = resolve(rules, images.card, head_name)
    return Job(name or backbone.name, backbone.card, backbone, images, head_name, built, rules, ours, how)


def _head(head: Any) -> Any:
    return registry.heads.build(head) if isinstance(head, str) else head


def _backbone(model: str | Backbone) -> Backbone:
    return registry.build_model(model) if isinstance(model, str) else model


def _dataset(dataset: str | Dataset) -> Dataset:
    built = registry.datasets.build(dataset) if isinstance(dataset, str) else dataset
    refuse_wrong_samples(built)
    task_named(built.card.task).check_targets(built)
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
        "protocol": job.resolved.title,
    }


def _head_name(head: Any) -> str:
    """Its registered name, then every argument that is not the default: `simpleshot(shots=4)`."""
    name = getattr(head, "registered_name", None) or registry.heads.name_of(registry.class_path_of(head))
    return registry.described(name, settings_of(head))


def _settings(job: Job) -> dict[str, Any]:
    """What decides a result besides the images and the model, as JSON gives it back."""
    head = {"class": qualified_name(job.head), "version": version_of(job.head), **settings_of(job.head)}
    online = {} if job.how.online is None else {"online": job.how.online}
    return json.loads(canonical({"head_settings": head, "protocol_settings": job.resolved.fields, **online}))


def _config(job: Job) -> str:
    """The nearest thing to a configuration for objects that were built in Python: their arguments are not known."""
    parts = {"model": job.backbone, "dataset": job.dataset, "head": job.head}
    content = {name: {"class_path": registry.class_path_of(thing)} for name, thing in parts.items()}
    head = f"{MADE_FROM_PYTHON}: classes without their arguments. To apply these heads, use eva_core.api.apply_heads.\n"
    return head + yaml.safe_dump({**content, "protocol": plain(job.protocol)}, sort_keys=False)
