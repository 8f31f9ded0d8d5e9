"""A board: models x tasks x heads, and where the result of each lies. Free of torch.

A pair of model and task has a folder `<output>/<task>/<model>-<hash>`, the hash of all that was asked for: the resolved
configuration, the fields of the protocol, and size and time of the files it names. In it lie `asked.yaml`, a result
folder for each head, and `failed.json` where it did not work.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from eva_core import registry
from eva_core.config.files import find_config, first_reason, read_protocol, read_yaml, tasks_of_board
from eva_core.config.result_config import read_task_config
from eva_core.errors import UsageError, some
from eva_core.files.addresses import stable
from eva_core.files.checksums import Verified
from eva_core.files.file_names import check_name
from eva_core.results.record import is_whole, read_json

ASKED, FAILED = "asked.yaml", "failed.json"
DEFAULT = "default"
FIELDS = {"name", "title", "models", "tasks", "heads", "protocol", "average_without", "tolerance"}


@dataclass(frozen=True, eq=False)
class Part:
    """A model, task or head of a board: its name, and its configuration; None: each protocol's own head of a task."""

    name: str
    config: Any


@dataclass(frozen=True)
class Board:
    """Models, tasks and heads to evaluate, and how their scores are summed up.

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
    """A model on a task, under all heads of the board.

    Attributes:
        config: What is asked of `eva fit`, after the whole protocol.
        protocol: Name or path.
    """

    model: str
    task: str
    config: dict[str, Any]
    protocol: str
    heads: tuple[Part, ...]
    folder: Path

    def result(self, head: Part) -> Path:
        """Folder of the result of a head; a head with arguments has their hash in the name."""
        return self.folder / (f"{head.name}-{_hash(head.config)}" if isinstance(head.config, dict) else head.name)

    @property
    def done(self) -> bool:
        """Whether every result is there and whole."""
        return self.is_whole()

    def is_whole(self, notes: Verified | None = None) -> bool:
        """Whether every result is there, and every file of it as it was written.

        Args:
            notes: Notes of the files that were whole when they were last read: those are not read again.
        """
        return all(is_whole(self.result(head), notes) for head in self.heads)

    @property
    def failure(self) -> str | None:
        """Reason why the last try failed; None where none did."""
        reason = read_json(self.folder / FAILED).get("reason")
        return reason if isinstance(reason, str) else None


def read_board(name: str) -> Board:
    """A board by path, or by name under `configs/`.

    Raises:
        UsageError: A field is missing, unknown or of the wrong kind, or two entries have one name.
    """
    path = find_config(name)
    content = read_yaml(path)
    listed = tasks_of_board(str(content.get("name", path.stem)))
    content = {"tasks": listed, **content} if listed else content
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
    check_name(str(content.get("name", path.stem)), f"a name in {path}")
    return Board(
        name=str(content.get("name", path.stem)),
        title=str(content.get("title", content.get("name", path.stem))),
        models=_parts(_named_by_run(content["models"]), "models", "class_path", path),
        tasks=tasks,
        heads=_parts(content["heads"], "heads", "class_path", path) if "heads" in content else (Part(DEFAULT, None),),
        protocol=_protocol(str(content.get("protocol", "eva-0.4")), path),
        average_without=tuple(left_out),
        tolerance=float(tolerance),
    )


def _protocol(name: str, board: Path) -> str:
    """A protocol by name, or by its path from here or from the board."""
    beside = board.parent / name
    return str(beside if beside.is_file() and not Path(name).is_file() else name)


def _named_by_run(entries: Any) -> Any:
    """Give exports without a `name` that of their run, by which results call them."""
    if not isinstance(entries, list):
        return entries
    named = []
    for entry in entries:
        given = entry if isinstance(entry, dict) else {"class_path": entry}
        folder = str(given.get("class_path", ""))
        if registry.is_folder(folder) and (export := registry.export_in(folder)) != folder:
            folder, given = export, {**given, "class_path": export}
            entry = given
        if "name" not in given and registry.is_folder(folder):
            name = read_json(Path(folder).expanduser() / "card.json").get("name")
            entry = {**given, "name": name} if isinstance(name, str) else entry
        named.append(entry)
    return named


def _parts(entries: Any, field: str, key: str, path: Path) -> tuple[Part, ...]:
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"Expected {field} in {path} to be a list, but got {entries!r}.")
    parts = [_part(entry, field, key, path) for entry in entries]
    twice = sorted({p.name for p in parts if [q.name for q in parts].count(p.name) > 1})
    if twice:
        raise UsageError(f"Expected each of {field} in {path} once, but {some(twice)} stands twice. Give it a `name`.")
    return tuple(parts)


def _part(entry: Any, field: str, key: str, path: Path) -> Part:
    """A name; or `name` with `class_path` and `init_args`, for a task with `config`, `init_args` and `protocol`."""
    if not isinstance(entry, str) and (not isinstance(entry, dict) or key not in entry):
        raise UsageError(f"Expected a name or a {key} in {field} of {path}, but got {entry!r}.")
    name, config = entry, entry
    if not isinstance(entry, str):
        name = entry.get("name") or registry.described(entry[key], entry.get("init_args") or {})
        config = {k: v for k, v in entry.items() if k != "name"}
    check_name(str(name), f"a name in {field} of {path}", "Give it a `name`")
    return Part(str(name), config)


def check(board: Board) -> None:
    """Refuse what could never run: unknown models and heads, and protocols that do not parse.

    Raises:
        UsageError: Names the first.
    """
    from eva_core.config.protocols import load_protocol

    load_protocol(board.protocol)
    for task in board.tasks:
        _check_changes(task)
    for names, parts in ((registry.models, board.models), (registry.heads, board.heads)):
        for part in parts:
            name = part.config["class_path"] if isinstance(part.config, dict) else part.config
            folder = names is registry.models and registry.is_folder(name)
            if name is not None and "." not in name and not folder:
                names.find(name)


def _check_changes(task: Part) -> None:
    """Check what a task changes of the protocol, by the parser that will read it."""
    from jsonargparse import ArgumentError

    from eva_core.config.parser import build_parser

    changes = _changes(task)
    if not isinstance(changes, dict):
        raise UsageError(
            f"Expected the protocol of {task.name} as a mapping of fields that differ, but got {changes!r}."
        )
    try:
        build_parser("fit").parse_object({"protocol": changes})
    except (ArgumentError, TypeError, ValueError) as error:
        reason = first_reason(error)
        raise UsageError(f"Expected fields of a protocol for {task.name}, but got {changes!r}: {reason}") from error


def pairs(board: Board, output: Path) -> list[Pair]:
    """Every model on every task, models outermost, so that one model's embeddings come one after another."""
    protocol = read_protocol(board.protocol)
    tasks = [(task.name, {**_task_config(task), "protocol": _changes(task) or board.protocol}) for task in board.tasks]
    listed = []
    for model in board.models:
        built = {"class_path": model.config} if isinstance(model.config, str) else model.config
        for task, dataset in tasks:
            config = {**dataset, "model": built}
            resolved = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
            key = _hash({"asked": stable(resolved), "protocol": protocol, "files": _files(resolved)})
            folder = output / task / f"{model.name}-{key}"
            listed.append(Pair(model.name, task, config, board.protocol, board.heads, folder))
    return listed


def _hash(content: Any) -> str:
    return hashlib.sha256(yaml.safe_dump(content, sort_keys=True).encode()).hexdigest()[:8]


def _changes(task: Part) -> dict[str, Any]:
    """Fields of the protocol that are otherwise for a task: then its results carry another protocol string."""
    return task.config.get("protocol", {}) if isinstance(task.config, dict) else {}


def _task_config(task: Part) -> dict[str, Any]:
    """The dataset of a task, with the board's own arguments for it."""
    name = task.config if isinstance(task.config, str) else task.config["config"]
    config = read_task_config(find_config(name))
    if "dataset" not in config:
        raise UsageError(f"Expected a task config with a dataset, but {name!r} has none. `configs/tasks/` holds ours.")
    dataset = config["dataset"] if isinstance(config["dataset"], dict) else {"class_path": config["dataset"]}
    if isinstance(task.config, dict):
        dataset = {**dataset, "init_args": {**dataset.get("init_args", {}), **task.config.get("init_args", {})}}
    return {"dataset": dataset}


def _files(config: Any) -> dict[str, list[int]]:
    """Size and time of every file that the configuration names: another checkpoint at the same path is another pair."""
    states = {}
    for part in config.values():
        given = part if isinstance(part, dict) else {}
        values = [v for v in (given.get("init_args") or {}).values() if isinstance(v, str)]
        exports = [str(Path(v).expanduser() / "card.json") for v in (given.get("class_path", ""), *values)]
        for value in [*values, *exports]:
            if Path(value).is_file():
                info = Path(value).stat()
                states[value] = [info.st_size, info.st_mtime_ns]
    return states
