"""Study: variants of a base config, and the tasks on which they are scored. Free of torch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva_core import registry
from eva_core.config.files import find_config, read_yaml
from eva_core.config.result_config import read_task_config
from eva_core.errors import UsageError, some
from eva_core.files.file_names import check_name

FIELDS = {"name", "title", "base", "against", "variants", "seeds", "few_seeds", "protocol", "tasks"}
NEEDED = {"base", "variants", "tasks"}
SIDES = ("in_distribution", "out_of_distribution")
FEWEST_SEEDS = 3
_OWN = {"untrained", "cut"}
"""Settings of a variant for the study itself; all others are for `eva pretrain`."""


@dataclass(frozen=True)
class Variant:
    """Variant of a base config.

    Attributes:
        name: Name in tables and plots.
        changes: Changes of the base config, as YAML has them.
        untrained: Export the initial weights without training.
        cut: Number of patches that are cut to a folder before the training; None: patches are read online.
    """

    name: str
    changes: dict[str, Any]
    untrained: bool = False
    cut: int | None = None

    @property
    def slug(self) -> str:
        """Name as a part of file names."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-.") or "variant"


@dataclass(frozen=True)
class Task:
    """Dataset on which variants are scored.

    Attributes:
        name: Name in tables and plots.
        dataset: Dataset as a configuration holds it: `class_path` and `init_args`.
        side: One of `SIDES`.
    """

    name: str
    dataset: dict[str, Any]
    side: str


@dataclass(frozen=True)
class Study:
    """Comparison of variants.

    Attributes:
        name: Name of the study, and of its folder.
        title: Title of table and plot.
        base: Config of `eva pretrain`.
        against: Name of the variant that the others are compared with.
        variants: The variants.
        seeds: Number of seeds of each variant: 0, 1, ...
        protocol: Name or path of the protocol.
        tasks: Datasets on which all variants are scored.
    """

    name: str
    title: str
    base: str
    against: str
    variants: tuple[Variant, ...]
    seeds: int
    protocol: str
    tasks: tuple[Task, ...]


def read_study(
    name: str,
    base: str | None = None,
    seeds: int | None = None,
    few_seeds: bool = False,
    tasks: Mapping[str, Sequence[str]] | None = None,
) -> Study:
    """Read a study.

    Args:
        name: Path of its YAML file, or name under `configs/`.
        base: Replaces the base of the file.
        seeds: Replaces the number of seeds of the file.
        few_seeds: Allow fewer than 3 seeds.
        tasks: Names of tasks by side; replace those of the file.

    Raises:
        UsageError: A field is missing, unknown or of the wrong kind.
    """
    path = find_config(name)
    content = read_yaml(path)
    unknown, missing = sorted(content.keys() - FIELDS), sorted(NEEDED - content.keys())
    if unknown or missing:
        what = f"{some(unknown)} is unknown" if unknown else f"{some(missing)} is missing"
        raise UsageError(f"Expected a study of {', '.join(sorted(FIELDS))} in {path}, but {what}. Correct it.")
    variants = _variants(content["variants"], path)
    against = str(content.get("against", variants[0].name))
    if against not in [v.name for v in variants]:
        raise UsageError(f"Expected against in {path} to be one of its variants, but got {against!r}. Correct it.")
    number = content.get("seeds", FEWEST_SEEDS) if seeds is None else seeds
    _check_seeds(number, few_seeds or content.get("few_seeds") is True)
    check_name(str(content.get("name", path.stem)), f"a name in {path}")
    return Study(
        name=str(content.get("name", path.stem)),
        title=str(content.get("title", content.get("name", path.stem))),
        base=base or str(content["base"]),
        against=against,
        variants=variants,
        seeds=number,
        protocol=str(content.get("protocol", "strict")),
        tasks=_tasks(tasks or content["tasks"], path),
    )


def _check_seeds(seeds: Any, few: bool) -> None:
    if not isinstance(seeds, int) or seeds < 1:
        raise UsageError(f"Expected seeds to be a number of at least 1, but got {seeds!r}. Change it.")
    if seeds < FEWEST_SEEDS and not few:
        raise UsageError(
            f"Expected at least {FEWEST_SEEDS} seeds, but got {seeds}: the spread of fewer says next to nothing. "
            "Give --few_seeds to have it so."
        )


def _variants(entries: Any, path: Path) -> tuple[Variant, ...]:
    if not isinstance(entries, dict) or not entries:
        raise UsageError(f"Expected variants in {path} as a mapping of names to what they change, but got {entries!r}.")
    variants = []
    for key, changes in entries.items():
        name = str(key)
        if not isinstance(changes, dict):
            raise UsageError(f"Expected what variant {name} in {path} changes as a mapping, but got {changes!r}.")
        untrained, cut = changes.get("untrained", False), changes.get("cut")
        if not isinstance(untrained, bool):
            raise UsageError(f"Expected untrained of variant {name} in {path} to be true, but got {untrained!r}.")
        if cut is not None and (not isinstance(cut, int) or cut < 1 or untrained):
            raise UsageError(
                f"Expected cut of variant {name} in {path} to be a number of patches to train from, but got {cut!r}."
            )
        variants.append(Variant(name, {k: v for k, v in changes.items() if k not in _OWN}, untrained, cut))
    return tuple(variants)


def _tasks(given: Any, path: Path) -> tuple[Task, ...]:
    if not isinstance(given, Mapping) or not given or not given.keys() <= set(SIDES):
        raise UsageError(f"Expected tasks in {path} as lists under {' and '.join(SIDES)}, but got {given!r}.")
    tasks = []
    for side in SIDES:
        entries = given.get(side) or []
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise UsageError(f"Expected {side} in {path} to be a list of tasks, but got {entries!r}.")
        tasks += [_task(entry, side, path) for entry in entries]
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        what = f"{some(twice)} stands twice. Give it a `name`" if twice else "there is none. Name some"
        raise UsageError(f"Expected tasks in {path}, each once, but {what}.")
    return tuple(tasks)


def _task(entry: Any, side: str, path: Path) -> Task:
    """Read a task: name of a task config or a dataset; or `config` or `class_path`, with `init_args` and `name`."""
    if isinstance(entry, str):
        entry = {"config": entry} if _is_config(entry) else {"class_path": entry}
    elif not isinstance(entry, dict) or len(entry.keys() & {"config", "class_path"}) != 1:
        raise UsageError(f"Expected a name, a config or a class_path in the tasks of {path}, but got {entry!r}.")
    arguments = entry.get("init_args") or {}
    if "config" in entry:
        content = read_task_config(find_config(entry["config"]))
        if "dataset" not in content:
            raise UsageError(f"Expected a task config with a dataset, but {entry['config']!r} has none. Name another.")
        dataset = content["dataset"] if isinstance(content["dataset"], dict) else {"class_path": content["dataset"]}
    else:
        dataset = {"class_path": entry["class_path"]}
    if "." not in dataset["class_path"]:
        registry.datasets.find(dataset["class_path"])
    given = Path(entry.get("config", entry.get("class_path"))).stem
    name = str(entry.get("name") or registry.described(given, arguments))
    check_name(name, f"a name in the tasks of {path}", "Give it a `name`")
    return Task(name, {**dataset, "init_args": {**(dataset.get("init_args") or {}), **arguments}}, side)


def _is_config(name: str) -> bool:
    try:
        find_config(name)
    except UsageError:
        return False
    return True
