"""`fit` and `predict`: the nouns of the command line as two functions."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import yaml
from typing_extensions import override

from eva_core import registry
from eva_core.config.jobs import job_of, with_protocol
from eva_core.config.protocols import plain
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import DatasetCard, ModelCard, facts_of
from eva_core.contracts.checks import crossing_line
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.contracts.protocol import Protocol
from eva_core.contracts.results import Identity, Results
from eva_core.errors import UsageError
from eva_core.extraction.engine import refuse_skipped
from eva_core.extraction.precision import in_config, settled
from eva_core.extraction.settings import Extraction
from eva_core.files.file_names import as_name
from eva_core.identity import canonical, digest, qualified_name, settings_of, version_of
from eva_core.job import Answer, Job
from eva_core.progress import say
from eva_core.reports.page import try_report
from eva_core.reports.result import Result
from eva_core.results import record
from eva_core.results.applying import finish, output_of
from eva_core.results.finished import finished
from eva_core.store.store import Store
from eva_core.task import Heads, Task, task_named

MADE_FROM_PYTHON = "# Made from Python"


def fit(
    model: str | Backbone,
    dataset: str | Dataset,
    head: Any = None,
    protocol: str | Protocol = "eva-0.4",
    output: str | Path | None = None,
    how: Extraction | None = None,
    tell: Callable[[str], None] = say,
    name: str | None = None,
) -> Result:
    """Evaluate a model on a dataset.

    Args:
        model: A registered name, the folder of an export, or a backbone.
        dataset: A registered name, or a dataset.
        head: A registered name, or a head of the task's kind; the protocol's first unless given.
        protocol: A name under `configs/protocols`, or a protocol.
        output: Folder for the result; `out/<dataset>/<model>` unless given.
        how: Device, batch size and the like.
        tell: Receives lines for the user.
        name: What the result calls the model; its own name unless given.
    Returns:
        The content of results.json, a dictionary; it shows itself, and has `predictions` and `embeddings`.
    Raises:
        UsageError: The folder holds another result, or the dataset lacks labels or splits.
        EvaError: An image, the weights or an embedding is bad.
    """
    job = job_of(model, dataset, head, protocol, how, name=name, output=output)
    return Result(fit_job(job, tell), folder_of(job))


def fit_job(job: Job, tell: Callable[[str], None] = say) -> Results:
    """Extract, train and score what a job asks for; see `fit`."""
    if (line := crossing_line(job.dataset)) is not None:
        tell(line)
    task, job = _task_of(job), prepared(job, tell)
    key = task.key(job)
    stamp = stamp_of(job, key.content)

    def make(folder: Path) -> Results:
        store = task.extract(key, job, tell)
        answer = task.evaluate(job, store, folder, stamp["key"])
        card = facts_of(job.card)
        del card["training_ids"]  # there may be tens of thousands; `contamination` says what they tell of this dataset
        facts = {"weights": job.backbone.provenance, "synthetic": job.dataset.card.synthetic, "card": card}
        results = _write(folder, {**stamp, **facts}, answer, job, str(store.attributes["device"]))
        try_report(folder, results, job.dataset, store, tell)
        return results

    return _once(job, stamp, make, tell)


def prepared(job: Job, tell: Callable[[str], None] = say) -> Job:
    """The job with a precision for its device.

    Raises:
        UsageError: It cannot be fitted; nothing was extracted.
    """
    task = _task_of(job)
    task.check(job)
    if job.how.random_weights and not task.scores_random_weights:
        raise UsageError(
            f"Expected a kind of task that scores random weights as a null, but {job.dataset.card.task} does not. "
            "Leave --random_weights out; `--model timm_model --model.arch NAME` without weights is such a model."
        )
    return _settled(job, tell)


def fit_embeddings(
    store: str | Path,
    head: Any = None,
    protocol: str | Protocol = "eva-0.4",
    output: str | Path | None = None,
    tell: Callable[[str], None] = say,
) -> Results:
    """Evaluate embeddings that `eva import` read; without the images there is no colour baseline.

    Args:
        store: The file that `eva import` printed.
        head: A registered name, or a head; the protocol's first unless given.
        protocol: A name under `configs/protocols`, or a protocol.
        output: Folder for the result; `out/<dataset>/<model>` unless given.
        tell: Receives lines for the user.
    Returns:
        The content of results.json.
    Raises:
        UsageError: The file is no store that `eva import` made, or the folder holds another result.
    """
    if not Path(store).is_file():
        raise UsageError(f"Expected a store that `eva import` made, but {store} does not exist.")
    opened = Store(Path(store))
    content = json.loads(opened.attributes["identity"])
    if not opened.imported:
        raise UsageError(f"Expected a store that `eva import` made, but got {store}. Use --model and --dataset.")
    images = Imported(DatasetCard(content["dataset"], classes=tuple(content["classes"])))
    job = job_of(NoBackbone(ModelCard(str(opened.attributes["model"]))), images, head, protocol, output=output)
    config = yaml.safe_dump({"embeddings": str(store), "protocol": plain(job.protocol)}, sort_keys=False)
    job = replace(job, config=config)
    stamp = stamp_of(job, content, "+embeddings=imported")

    def make(folder: Path) -> Results:
        answer = _task_of(job).evaluate(job, opened, folder, stamp["key"])
        facts = {"weights": {}, "synthetic": False, "card": facts_of(job.card)}
        results = _write(folder, {**stamp, **facts}, answer, job, str(opened.attributes["device"]))
        try_report(folder, results, images, opened, tell)
        return results

    return _once(job, stamp, make, tell)


def _task_of(job: Job) -> Task:
    return task_named(job.dataset.card.task)


def folder_of(job: Job) -> Path:
    """The folder of the result of a job: what the user asked for, else one by the names of dataset and model."""
    return job.output or Path("out") / job.dataset.card.name / as_name(job.model)


def _once(job: Job, stamp: dict[str, Any], make: Callable[[Path], Results], tell: Callable[[str], None]) -> Results:
    """The result of a job: what its folder holds, else what `make` makes there while no other process does."""
    folder = folder_of(job)
    done = finished(folder, stamp["key"], stamp["identity"], stamp["settings"])
    if done is None:
        with record.claimed(folder, tell):
            # another process may have made it by now
            done = finished(folder, stamp["key"], stamp["identity"], stamp["settings"], tell)
            if done is None:
                results = make(folder)
                _task_of(job).tidy(folder)
                return results
    _task_of(job).tidy(folder)  # a kill may have come between the result and this
    refuse_skipped(done["skipped"], job.how)
    if not (folder / record.REPORT).exists():
        try_report(folder, done, job.dataset, tell=tell)
    tell(f"Already done: {folder}")
    return done


class Imported(Dataset):
    """Labels of embeddings that another program made: there are no images."""

    def __init__(self, card: DatasetCard) -> None:
        self.card, self.samples = card, []

    @override
    def image(self, sample: Sample) -> np.ndarray:
        raise UsageError(f"Expected no question about the images of {self.card.name}: its embeddings were imported.")


class NoBackbone(Backbone):
    """Stands for the model of embeddings that another program made."""

    @override
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise UsageError(f"Expected no images for {self.name}: its embeddings were imported.")

    @override
    def feature_map(self, images: torch.Tensor, layers: Sequence[int] | None = None) -> torch.Tensor:
        return self.forward(images)


def _write(folder: Path, stamp: dict[str, Any], answer: Answer, job: Job, device: str) -> Results:
    """Write all files of a result; results.json, which vouches for them, last."""
    record.set_aside(folder)
    record.write_config(folder, job.config or _config(job))
    heads = {run: {name: value.numpy() for name, value in params.items()} for run, params in answer.heads.items()}
    record.write_heads(folder / record.HEADS, heads, job.dataset.card.classes)
    record.write_predictions(folder, answer.predictions)
    record.write_draws(folder, answer.draws)
    answer.record["cost"]["peak_rss_mb"] = record.peak_rss_mb()
    environment = {**record.environment(), "device": device}
    results = cast(Results, {**stamp, **answer.record, "environment": environment})
    record.write_results(folder, results, [*record.RESULT_FILES, *_task_of(job).files(results)])
    return record.read_results(folder)


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
    return extract_job(job_of(model, dataset, None, protocol, how, trains=False), tell)


def extract_job(job: Job, tell: Callable[[str], None] = say) -> Path:
    """Extract what a job asks for; see `predict`."""
    job = _settled(job, tell)
    return Path(_task_of(job).extract(_task_of(job).key(job), job, tell).path)


def extract_jobs(jobs: Sequence[Job], tell: Callable[[str], None] = say) -> list[Path]:
    """Extract what jobs of several models on one dataset ask for, each file being read once where the task can."""
    settled_jobs = [_settled(job, tell) for job in jobs]
    return [Path(store.path) for store in _task_of(jobs[0]).extract_all(settled_jobs, tell)]


def _settled(job: Job, tell: Callable[[str], None]) -> Job:
    """The job with a precision for the device."""

    def cached(protocol: Protocol) -> bool:
        return _task_of(job).key(replace(job, protocol=protocol)).path.is_file()

    protocol = settled(job.protocol, job.card, job.how.device, cached, tell)
    if protocol == job.protocol:
        return job
    config = None if job.config is None else in_config(job.config, protocol)
    return replace(with_protocol(job, protocol), config=config)


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
        protocol: The protocol of that result.
        output: Folder for the predictions; `out/<dataset>/<model>-predictions` unless given.
        how: Device, batch size and the like.
        tell: Receives lines for the user.
    Returns:
        What was written, as the task says.
    Raises:
        UsageError: The model or its preprocessing is not the one that the heads were trained on.
    """
    result = Path(result)
    record.read_results(result)  # what is no result is refused before anything is built
    return apply_job(result, job_of(model, dataset, head, protocol, how, output=output), tell)


def apply_job(result: Path, job: Job, tell: Callable[[str], None] = say) -> Path:
    """Apply the heads of a finished result to the images of a job; see `apply_heads`."""
    task = _task_of(job)
    task.check_applying(job)
    key = task.key(job)
    classes, heads = fitted_heads(result, job, key.content)
    output = job.output or Path("out") / job.dataset.card.name / f"{as_name(job.backbone.name)}-predictions"
    identity = _identity(job, key.content)
    job_key = digest({**identity, "result": record.read_results(result)["sha256"]})
    with output_of(output, job_key, tell) as done:
        if done is not None:
            return done
        store = task.extract(key, job, tell)
        return finish(output, job_key, task.apply(job, store, heads, classes, output))


def fitted_heads(result: Path, job: Job, content: dict[str, Any]) -> tuple[list[str], Heads]:
    """The classes and parameters of the heads of a finished result, for images of a job.

    Args:
        result: Folder that `fit` wrote.
        job: The images, with the model and protocol of the result.
        content: Content of the key of its store.
    Raises:
        UsageError: The model or its preprocessing is not the one that the heads were trained on.
    """
    fitted = record.read_results(result)["identity"]
    classes, params = record.read_heads(result / record.HEADS)
    identity = _identity(job, content)
    for what, expected, got in (
        ("weights", fitted["weights_sha256"], identity["weights_sha256"]),
        ("preprocess", fitted["preprocess_sha256"], identity["preprocess_sha256"]),
    ):
        if got != expected:
            raise UsageError(
                f"Expected {what} {expected[:12]} as in {result}, but {job.backbone.name} has {got[:12]}. "
                "Use the model and protocol of that result."
            )
    heads = {run: {name: torch.from_numpy(value) for name, value in p.items()} for run, p in params.items()}
    return classes, heads


def stamp_of(job: Job, content: dict[str, Any], departure: str = "") -> dict[str, Any]:
    """Key, task, identity and settings of a result.

    Args:
        job: What is fitted.
        content: Content of the key of its store.
        departure: Added to the title of the protocol.
    """
    identity, settings = _identity(job, content, departure), _settings(job)
    key = digest({**content, **identity, **settings})
    return {"key": key, "task": job.dataset.card.task, "identity": identity, "settings": settings}


def _identity(job: Job, content: dict[str, Any], departure: str = "") -> Identity:
    return {
        "model": job.model,
        "weights_sha256": content["weights_sha256"],
        "preprocess_sha256": digest(content["preprocess"]),
        "dataset": job.dataset.card.name,
        "dataset_sha256": content["dataset_sha256"],
        "head": job.head_name,
        "protocol": job.resolved.title + departure,
    }


def _settings(job: Job) -> dict[str, Any]:
    """What decides a result besides the images and the model, as JSON gives it back."""
    head = {"class": qualified_name(job.head), "version": version_of(job.head), **settings_of(job.head)}
    online = {} if job.how.online is None else {"online": job.how.online}
    nulls = {"random_weights": True} if job.how.random_weights else {}
    settings = {"head_settings": head, "protocol_settings": job.resolved.fields, **online, **nulls}
    plain_settings: dict[str, Any] = json.loads(canonical(settings))
    return plain_settings


def _config(job: Job) -> str:
    """The nearest thing to a configuration for objects that were built in Python: their arguments are not known."""
    parts = {"model": job.backbone, "dataset": job.dataset, "head": job.head}
    content = {name: {"class_path": registry.class_path_of(thing)} for name, thing in parts.items()}
    head = f"{MADE_FROM_PYTHON}: classes without their arguments. To apply these heads, use eva_core.api.apply_heads.\n"
    return head + yaml.safe_dump({**content, "protocol": plain(job.protocol)}, sort_keys=False)
