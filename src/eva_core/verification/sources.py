"""The data and the weights that a result was made of, where they are on this machine."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eva_core import registry
from eva_core.config.result_config import read_result_config
from eva_core.contracts.results import Results
from eva_core.errors import EvaError, UsageError, some
from eva_core.hub.weight_files import held, weights_address
from eva_core.results.record import CONFIG
from eva_core.verification.numbers import differences
from eva_core.verification.verdict import Verdict

if TYPE_CHECKING:
    from eva_core.job import Job

STAND_IN = "colour_stats"
"""Stands for the model where only the dataset and the head are asked for: it has no weights."""
_FROM_PYTHON = "# Made from Python"


def check_sources(verdict: Verdict, results: Results, ids: Iterable[str]) -> "Job | None":
    """Compare data, weights and settings with those here.

    Args:
        verdict: Learns what differs, and what is not here.
        results: The content of results.json.
        ids: Ids of the samples that have predictions.
    Returns:
        The job of the result, with a stand-in for the model where its weights are not here; None where there is none.
    """
    try:
        content = _config(verdict.folder)
        job = _job(content, {"class_path": STAND_IN})
        found = job.dataset.fingerprint()
    except EvaError as error:
        verdict.unchecked.append(f"data and weights: {error}")
        return None
    expected = results["identity"]["dataset_sha256"]
    if found != expected:
        missing = sorted(set(ids) - {sample.id for sample in job.dataset.samples})
        what = f"missing of its samples: {some(missing)}" if missing else "a file or a label is another"
        verdict.wrong.append(f"data: expected {expected[:12]} as the result states, but found {found[:12]}: {what}.")
    else:
        verdict.holds.append("data")
    return _with_weights(verdict, results, content, job)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if path.is_file() and path.read_bytes().startswith(_FROM_PYTHON.encode()):
        raise UsageError("it was made from Python objects, whose arguments nobody wrote down.")
    content = read_result_config(path)
    if "embeddings" in content:
        raise UsageError("its embeddings were imported.")
    return content


def _job(content: Mapping[str, Any], model: Any) -> "Job":
    from eva_core.config.parser import parse

    return parse("fit", [], config={**content, "model": model})


def _with_weights(verdict: Verdict, results: Results, content: Mapping[str, Any], job: "Job") -> "Job":
    """The job with its own model, whose weights and settings are compared; as it is where they are not here."""
    from eva_core.api import stamp_of
    from eva_core.task import task_named

    name = results["identity"]["model"]
    try:
        if not _are_here(content["model"]):
            verdict.unchecked.append(f"weights of {name}: they are not on this machine. `eva download` may fetch them.")
            return job
        own = replace(_job(content, content["model"]), model=name)
        stamp = stamp_of(own, task_named(results["task"]).key(own).content)
    except EvaError as error:
        verdict.unchecked.append(f"weights of {name}: {error}")
        return job
    stated = {part: results.get(part) for part in stamp}
    count, lines = differences(stamp, stated, 0.0)
    if len(lines) > 1:
        lines = [line for line in lines if not line.startswith("key:")]  # which follows from the others
    lines = [line for line in lines if not line.startswith("identity.dataset_sha256:")]  # which was said before
    verdict.wrong += lines
    if not lines:
        verdict.holds.append(f"weights, head and protocol ({count} settings)")
    return own


def _are_here(model: Any) -> bool:
    """Whether a model can be built without fetching its weights, as far as its card tells."""
    name = str(model["class_path"]) if isinstance(model, dict) else str(model)
    arguments = (model.get("init_args") or {}) if isinstance(model, dict) else {}
    if registry.is_folder(name) or arguments.get("checkpoint"):
        return True
    card = getattr(registry.models.load(name) if "." not in name else registry.import_object(name), "card", None)
    address = weights_address(card) if card is not None else None
    return address is None or held(address) is not None
