"""Run what a board lacks, here or over a cluster."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from eva_core import registry
from eva_core.boards.board import ASKED, FAILED, Pair
from eva_core.errors import EvaError
from eva_core.files.addresses import free_of_secrets, without_secrets
from eva_core.files.atomic_files import make_folder, write_text
from eva_core.ray_cluster import each_on_ray
from eva_core.results.record import is_whole
from eva_core.task import task_named

if TYPE_CHECKING:
    from eva_core.job import Job

_TOGETHER = 4
"""Models that are held in memory at once where a task reads its files once for several."""


def run_pair(pair: Pair, how: dict[str, Any], threads: int | None = None) -> str | None:
    """Fit the heads that are missing; embeddings are extracted once for all of them.

    Args:
        pair: The model and the task.
        how: Fields of `eva_core.extraction.settings.Extraction`.
        threads: Number of torch's threads, on which results depend to the last digit; None: torch's own.
    Returns:
        None, or the reason why it did not work, which is also left in the folder. Ctrl-C passes through.
    """
    make_folder(pair.folder)
    write_text(pair.folder / ASKED, yaml.safe_dump(free_of_secrets(pair.config), sort_keys=False))
    try:
        _fit_heads(pair, how, threads)
    except Exception as error:  # a board goes on whatever happens in one place of it
        return leave_reason(pair.folder, error)
    (pair.folder / FAILED).unlink(missing_ok=True)
    return None


def leave_reason(folder: Path, error: Exception) -> str:
    """Write why something failed into its folder, and return it in a line."""
    reason = str(error) if isinstance(error, EvaError) else f"{type(error).__name__}: {error}"
    reason = without_secrets(" ".join(reason.split()))
    write_text(folder / FAILED, json.dumps({"reason": reason}))
    return reason


def _job(pair: Pair, how: dict[str, Any]) -> "Job":
    from eva_core.config.parser import parse
    from eva_core.extraction.settings import Extraction

    job = parse("fit", ["--protocol", pair.protocol], config=pair.config)
    return replace(job, model=pair.model, how=Extraction(**how))


def _fit_heads(pair: Pair, how: dict[str, Any], threads: int | None) -> None:
    import torch

    from eva_core.api import fit_job
    from eva_core.config.jobs import with_head

    if threads is not None:
        torch.set_num_threads(threads)
    job = _job(pair, how)
    for head in pair.heads:
        if is_whole(pair.result(head)):
            continue
        chosen = job
        if head.config is not None:
            config = head.config if isinstance(head.config, dict) else {"class_path": head.config}
            built = registry.heads.build(config["class_path"], **config.get("init_args", {}))
            text = yaml.safe_dump({**yaml.safe_load(job.config or ""), "head": config}, sort_keys=False)
            chosen = replace(with_head(job, built), config=text)
        fit_job(replace(chosen, output=pair.result(head)))


Ended = Callable[[Pair, str | None], None]
"""Takes a pair, and why it failed; None where it did not."""


def run_here(todo: list[Pair], how: dict[str, Any], begin: Callable[[Pair], None], end: Ended) -> None:
    """Run one pair after another in this process; where a task reads its files once for several models, they wait."""
    read: set[int] = set()
    for number, pair in enumerate(todo):
        begin(pair)
        if number not in read and _reads_once(pair):
            together = [n for n in range(number, len(todo)) if n not in read and _same_files(todo[n], pair)][:_TOGETHER]
            read |= {*together}
            if len(together) > 1:
                _read_once([todo[n] for n in together], how)
        end(pair, run_pair(pair, how))


def _reads_once(pair: Pair) -> bool:
    dataset = pair.config["dataset"]
    name = dataset["class_path"] if isinstance(dataset, dict) else dataset
    try:
        built = registry.import_object(name) if "." in name else registry.datasets.load(name)
        return task_named(built.card.task).reads_once
    except Exception:  # whatever is wrong with it, its own run says so
        return False


def _same_files(one: Pair, other: Pair) -> bool:
    """Whether both pairs differ in the model alone."""
    return (one.task, one.protocol) == (other.task, other.protocol) and {**one.config, "model": None} == {
        **other.config,
        "model": None,
    }


def _read_once(pairs: list[Pair], how: dict[str, Any]) -> None:
    """Extract for several models at once; what fails here is tried, and said, model by model."""
    from eva_core.api import extract_jobs

    with suppress(Exception):
        extract_jobs([_job(pair, how) for pair in pairs])


def run_on_ray(
    todo: list[Pair],
    how: dict[str, Any],
    begin: Callable[[Pair], None],
    end: Ended,
    cpus: float = 1,
    gpus: float = 0,
    address: str | None = None,
) -> None:
    """Run pairs over a Ray cluster that shares this file system.

    Args:
        todo: The pairs.
        how: Fields of `eva_core.extraction.settings.Extraction`.
        begin: Called with each pair as it is handed out.
        end: Called with each pair as it ends.
        cpus: Cores that a pair takes.
        gpus: GPUs that a pair takes.
        address: Address of the cluster; None: the one that RAY_ADDRESS names, else a local one.
    Raises:
        UsageError: Ray is not installed.
    """
    import torch

    # as many threads as here: results are then the same to the last digit
    work = partial(run_pair, how=how, threads=torch.get_num_threads())
    outcomes = each_on_ray(work, todo, cpus, gpus, address)
    for pair in todo:
        begin(pair)
    for pair, outcome in outcomes:
        end(pair, leave_reason(pair.folder, outcome) if isinstance(outcome, Exception) else outcome)
