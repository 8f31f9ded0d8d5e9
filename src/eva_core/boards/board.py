"""A board: models x tasks x heads, run where missing, read where done. Free of torch until something must run.

A pair of model and task has a folder `<output>/<task>/<model>-<hash>`, the hash of all that was asked for: the resolved
configuration, the fields of the protocol, and size and time of the files it names. In it lie `asked.yaml`, a result
folder for each head, and `failed.json` where it did not work.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from eva_core import registry
from eva_core.config_files import find_config, read_yaml
from eva_core.errors import EvaError, UsageError, some
from eva_core.record import RESULTS, read_json, write_text

ASKED, FAILED = "asked.yaml", "failed.json"
FIELDS = {"name", "title", "models", "tasks", "heads", "protocol", "average_without", "tolerance"}


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
class Pair:
    """A model on a task, under all heads of the board."""

    model: str
    task: str
    config: dict[str, Any]
    heads: tuple[Part, ...]
    folder: Path

    def result(self, head: Part) -> Path:
        """Where the result of a head is; a head with arguments has their hash in the name."""
        return self.folder / (head.name if isinstance(head.config, str) else f"{head.name}-{_hash(head.config)}")

    @property
    def done(self) -> bool:
        return all((self.result(head) / RESULTS).exists() for head in self.heads)

    @property
    def failure(self) -> str | None:
        """Why it did not work, when it was last tried."""
        return None if self.done else read_json(self.folder / FAILED).get("reason")


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
    tasks = _parts(content["tasks"], "tasks", "config", path)
    left_out, tolerance = content.get("average_without", []), content.get("tolerance", 0.02)
    if not isinstance(left_out, list) or not set(left_out) <= {task.name for task in tasks}:
        raise UsageError(f"Expected average_without in {path} to list tasks of the board, but got {left_out!r}.")
    if not isinstance(tolerance, int | float):
        raise UsageError(f"Expected tolerance in {path} to be a number, but got {tolerance!r}.")
    return Board(
        name=str(content.get("name", path.stem)),
        title=str(content.get("title", content.get("name", path.stem))),
        models=_parts(content["models"], "models", "class_path", path),
        tasks=tasks,
        heads=_parts(content.get("heads", ["linear"]), "heads", "class_path", path),
        protocol=_protocol(str(content.get("protocol", "eva-0.4")), path),
        average_without=tuple(left_out),
        tolerance=float(tolerance),
    )


def _protocol(name: str, board: Path) -> str:
    """A protocol by name, or by its path from here or from the board."""
    beside = board.parent / name
    return str(beside if beside.is_file() and not Path(name).is_file() else name)


def _parts(entries: Any, field: str, key: str, path: Path) -> tuple[Part, ...]:
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"Expected {field} in {path} to be a list, but got {entries!r}.")
    parts = [_part(entry, field, key, path) for entry in entries]
    twice = sorted({p.name for p in parts if [q.name for q in parts].count(p.name) > 1})
    if twice:
        raise UsageError(f"Expected each of {field} in {path} once, but {some(twice)} stands twice. Give it a `name`.")
    return tuple(parts)


def _part(entry: Any, field: str, key: str, path: Path) -> Part:
    """A name; or `name` with `class_path` and `init_args`, for a task with `config` and `init_args`."""
    if not isinstance(entry, str) and (not isinstance(entry, dict) or key not in entry):
        raise UsageError(f"Expected a name or a {key} in {field} of {path}, but got {entry!r}.")
    name, config = entry, entry
    if not isinstance(entry, str):
        name = entry.get("name") or registry.described(entry[key], entry.get("init_args") or {})
        config = {k: v for k, v in entry.items() if k != "name"}
    if "/" in str(name):
        raise UsageError(f"Expected a name without / in {field} of {path}, but got {name!r}. Give it a `name`.")
    return Part(str(name), config)


def check(board: Board) -> None:
    """Refuse what could never run: unknown models and heads, and protocols that do not parse.

    Raises:
        UsageError: Names the first.
    """
    from eva_core.config import load_protocol

    load_protocol(board.protocol)
    for names, parts in ((registry.models, board.models), (registry.heads, board.heads)):
        for part in parts:
            name = part.config if isinstance(part.config, str) else part.config["class_path"]
            if "." not in name:
                names.find(name)


def pairs(board: Board, output: Path) -> list[Pair]:
    """Every model on every task, models outermost, so that one model's embeddings come one after another."""
    rules = read_yaml(find_config(board.protocol, "protocols"))
    tasks = [(task.name, _task_config(task)) for task in board.tasks]
    found = []
    for model in board.models:
        built = {"class_path": model.config} if isinstance(model.config, str) else model.config
        for task, dataset in tasks:
            config = {**dataset, "protocol": board.protocol, "model": built}
            resolved = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
            key = _hash({"asked": resolved, "protocol": rules, "files": _files(resolved)})
            found.append(Pair(model.name, task, config, board.heads, output / task / f"{model.name}-{key}"))
    return found


def _hash(content: Any) -> str:
    return hashlib.sha256(yaml.safe_dump(content, sort_keys=True).encode()).hexdigest()[:8]


def _task_config(task: Part) -> dict[str, Any]:
    """The dataset of a task, with the board's own arguments for it."""
    name = task.config if isinstance(task.config, str) else task.config["config"]
    config = read_yaml(find_config(name))
    if "dataset" not in config:
        raise UsageError(f"Expected a task config with a dataset, but {name!r} has none. `configs/tasks/` holds ours.")
    dataset = config["dataset"] if isinstance(config["dataset"], dict) else {"class_path": config["dataset"]}
    if isinstance(task.config, dict):
        dataset = {**dataset, "init_args": {**dataset.get("init_args", {}), **task.config.get("init_args", {})}}
    return {"dataset": dataset}


def _files(config: Any) -> dict[str, list[int]]:
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
    write_text(asked, yaml.safe_dump(pair.config, sort_keys=False))
    try:
        _fit_heads(pair, asked, how, threads)
    except Exception as error:  # a board goes on whatever happens in one place of it
        return _failed(pair, error)
    (pair.folder / FAILED).unlink(missing_ok=True)
    return None


def _failed(pair: Pair, error: Exception) -> str:
    """Leave the reason in the folder of the pair."""
    reason = str(error) if isinstance(error, EvaError) else f"{type(error).__name__}: {error}"
    reason = " ".join(reason.split())
    write_text(pair.folder / FAILED, json.dumps({"reason": reason}))
    return reason


def _fit_heads(pair: Pair, asked: Path, how: dict[str, Any], threads: int | None) -> None:
    import torch

    from eva_core.api import fit
    from eva_core.config import parse
    from eva_core.extract import Extraction

    if threads is not None:
        torch.set_num_threads(threads)
    request = parse("fit", ["--config", str(asked)])
    for head in pair.heads:
        if (pair.result(head) / RESULTS).exists():
            continue
        config = head.config if isinstance(head.config, dict) else {"class_path": head.config}
        built = registry.heads.build(config["class_path"], **config.get("init_args", {}))
        text = yaml.safe_dump({**yaml.safe_load(request.text), "head": config}, sort_keys=False)
        fit(
            request.backbone,
            request.dataset,
            built,
            request.protocol,
            pair.result(head),
            Extraction(**how),
            text,
            name=pair.model,
        )


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
    try:
        while running:
            finished, _ = ray.wait(list(running), num_returns=1)
            for reference in finished:
                pair = running.pop(reference)
                try:
                    reason = ray.get(reference)
                except ray.exceptions.RayError as error:  # the worker died: out of memory, or its machine went away
                    reason = _failed(pair, error)
                end(pair, reason)
    finally:
        ray.shutdown()
