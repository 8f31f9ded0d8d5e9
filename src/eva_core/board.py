"""A board: models x tasks x heads, run where missing, read where done. Free of torch until something must run.

A pair of model and task has a folder `<output>/<task>/<model>-<hash>`, the hash of all that was asked for; in it
`asked.yaml`, one result folder for each head, and `failed.json` where it did not work.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eva_core import registry
from eva_core.config_files import find_config, read_yaml
from eva_core.errors import EvaError, UsageError, some
from eva_core.record import RESULTS

ASKED, FAILED = "asked.yaml", "failed.json"
FIELDS = {"name", "title", "models", "tasks", "heads", "protocol", "average_without", "tolerance"}


@dataclass(frozen=True)
class Part:
    """A model, task or head of a board: its name, and its configuration."""

    name: str
    config: Any


@dataclass(frozen=True)
class Board:
    """What is evaluated.

    Attributes:
        average_without: Tasks that the average and the rank leave out.
        tolerance: Distance from a published value that counts as reproduced.
    """

    name: str
    title: str
    models: tuple[Part, ...]
    tasks: tuple[Part, ...]
    heads: tuple[Part, ...]
    protocol: str
    average_without: tuple[str, ...]
    tolerance: float


@dataclass(frozen=True)
class Pair:
    """A model on a task, under all heads of the board."""

    model: str
    task: str
    config: dict[str, Any]
    heads: tuple[Part, ...]
    folder: Path

    def result(self, head: Part) -> Path:
        return self.folder / head.name

    @property
    def done(self) -> bool:
        return all((self.result(head) / RESULTS).exists() for head in self.heads)

    @property
    def failure(self) -> str | None:
        """Why it did not work, when it was last tried."""
        path = self.folder / FAILED
        return None if self.done or not path.exists() else str(json.loads(path.read_text(encoding="utf-8"))["reason"])


def read_board(name: str) -> Board:
    """A board by path, or by name under `configs/`.

    Raises:
        UsageError: A field is missing, unknown or of the wrong kind, or two entries have one name.
    """
    path = find_config(name)
    content = read_yaml(path)
    unknown, missing = sorted(content.keys() - FIELDS), sorted({"models", "tasks"} - content.keys())
    if unknown or missing:
        what = f"{some(unknown)} is unknown" if unknown else f"{some(missing)} is missing"
        raise UsageError(f"Expected a board of {', '.join(sorted(FIELDS))} in {path}, but {what}.")
    return Board(
        name=str(content.get("name", path.stem)),
        title=str(content.get("title", content.get("name", path.stem))),
        models=_parts(content["models"], "models", path),
        tasks=_parts(content["tasks"], "tasks", path),
        heads=_parts(content.get("heads", ["linear"]), "heads", path),
        protocol=str(content.get("protocol", "eva-0.4")),
        average_without=tuple(content.get("average_without", ())),
        tolerance=float(content.get("tolerance", 0.02)),
    )


def _parts(entries: Any, field: str, path: Path) -> tuple[Part, ...]:
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"Expected {field} in {path} to be a list, but got {entries!r}.")
    parts = [_part(entry, field, path) for entry in entries]
    twice = sorted({p.name for p in parts if [q.name for q in parts].count(p.name) > 1})
    if twice:
        raise UsageError(f"Expected each of {field} in {path} once, but {some(twice)} stands twice. Give it a `name`.")
    return tuple(parts)


def _part(entry: Any, field: str, path: Path) -> Part:
    """A name; or `name` with `class_path` and `init_args`, for a task with `config` and `init_args`."""
    if isinstance(entry, str):
        return Part(entry, entry)
    if not isinstance(entry, dict) or not {"class_path", "config"} & entry.keys():
        raise UsageError(f"Expected a name or a class_path in {field} of {path}, but got {entry!r}.")
    config = {k: v for k, v in entry.items() if k != "name"}
    name = entry.get("name") or _described(entry.get("class_path") or entry["config"], entry.get("init_args") or {})
    return Part(str(name), config)


def _described(name: str, arguments: dict[str, Any]) -> str:
    inner = ",".join(f"{k}={v}" for k, v in sorted(arguments.items()))
    return f"{name}({inner})" if inner else name


def pairs(board: Board, output: Path) -> list[Pair]:
    """Every model on every task, models outermost, so that one model's embeddings come one after another."""
    return [_pair(board, model, task, output) for model in board.models for task in board.tasks]


def _pair(board: Board, model: Part, task: Part, output: Path) -> Pair:
    config = _task_config(task)
    config["protocol"] = board.protocol
    config["model"] = {"class_path": model.config} if isinstance(model.config, str) else model.config
    text = yaml.safe_dump({**config, "files": _files(config)}, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:8]
    return Pair(model.name, task.name, config, board.heads, output / task.name / f"{model.name}-{key}")


def _task_config(task: Part) -> dict[str, Any]:
    """The dataset of a task, with the board's own arguments for it."""
    name = task.config if isinstance(task.config, str) else task.config["config"]
    config = read_yaml(find_config(name))
    dataset = config["dataset"] if isinstance(config["dataset"], dict) else {"class_path": config["dataset"]}
    if isinstance(task.config, dict):
        dataset = {**dataset, "init_args": {**dataset.get("init_args", {}), **task.config.get("init_args", {})}}
    return {"dataset": dataset}


def _files(config: dict[str, Any]) -> dict[str, list[int]]:
    """Size and time of every file that the configuration names: another checkpoint at the same path is another pair."""
    found = {}
    for part in config.values():
        for value in (part.get("init_args") or {}).values() if isinstance(part, dict) else ():
            if isinstance(value, str) and Path(value).is_file():
                info = Path(value).stat()
                found[value] = [info.st_size, info.st_mtime_ns]
    return found


def run_pair(pair: Pair, how: dict[str, Any], threads: int | None = None) -> str | None:
    """Fit the heads that are missing; embeddings are extracted once for all of them.

    Args:
        how: Fields of `eva_core.extract.Extraction`.
        threads: Of torch; results depend on it to the last digit. None: torch's own.
    Returns:
        None, or the reason why it did not work, which is also left in the folder. Ctrl-C passes through.
    """
    pair.folder.mkdir(parents=True, exist_ok=True)
    asked = pair.folder / ASKED
    asked.write_text(yaml.safe_dump(pair.config, sort_keys=False), encoding="utf-8")
    try:
        _fit_heads(pair, asked, how, threads)
    except Exception as error:  # a board goes on whatever happens in one place of it
        reason = str(error) if isinstance(error, EvaError) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())
        (pair.folder / FAILED).write_text(json.dumps({"reason": reason}), encoding="utf-8")
        return reason
    (pair.folder / FAILED).unlink(missing_ok=True)
    return None


def _fit_heads(pair: Pair, asked: Path, how: dict[str, Any], threads: int | None) -> None:
    import torch

    from eva_core.api import fit
    from eva_core.config import parse
    from eva_core.extract import Extraction

    if threads is not None:
        torch.set_num_threads(threads)
    request = parse("fit", ["--config", str(asked)])
    request.backbone.name = pair.model
    for head in pair.heads:
        if (pair.result(head) / RESULTS).exists():
            continue
        config = head.config if isinstance(head.config, dict) else {"class_path": head.config}
        built = registry.heads.build(config["class_path"], **config.get("init_args", {}))
        text = yaml.safe_dump({**yaml.safe_load(request.text), "head": config}, sort_keys=False)
        fit(request.backbone, request.dataset, built, request.protocol, pair.result(head), Extraction(**how), text)


Told = Callable[[Pair, str | None], None]


def run_here(todo: list[Pair], how: dict[str, Any], begin: Callable[[Pair], None], end: Told) -> None:
    """One pair after another in this process."""
    for pair in todo:
        begin(pair)
        end(pair, run_pair(pair, how))


def run_on_ray(
    todo: list[Pair],
    how: dict[str, Any],
    begin: Callable[[Pair], None],
    end: Told,
    cpus: float = 1,
    gpus: float = 0,
    address: str | None = None,
) -> None:
    """Pairs over a Ray cluster that shares this file system.

    Args:
        cpus: Cores that a pair takes.
        gpus: GPUs that a pair takes.
        address: Of the cluster; None: the one that RAY_ADDRESS names, else a local one.
    Raises:
        UsageError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("Expected ray for --engine ray. pip install 'eva-pathology[ray]'.") from error
    import torch

    ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    remote = ray.remote(num_cpus=cpus, num_gpus=gpus)(run_pair)
    # as many threads as here: results are then the same to the last digit
    running = {remote.remote(pair, how, torch.get_num_threads()): pair for pair in todo}
    for pair in todo:
        begin(pair)
    while running:
        finished, _ = ray.wait(list(running), num_returns=1)
        for reference in finished:
            end(running.pop(reference), ray.get(reference))
    ray.shutdown()
