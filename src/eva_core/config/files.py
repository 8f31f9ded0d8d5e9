"""YAML files by path or by name. Free of torch, so that a finished board is shown at once."""

import difflib
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from eva_core.errors import UsageError

BOARDS = "boards"
"""In the config of a dataset: the shipped boards that have it among their tasks."""
PUBLISHED = "published"
"""In the config of a dataset: what is otherwise for it under a published protocol, `{eva-0.4: {patience: 100}}`."""


def shipped(folder: str) -> Path:
    """`configs` or `leaderboard`: below `eva_core/` in a wheel, at the top of a checkout."""
    packaged = Path(__file__).parents[1] / folder
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / folder


def find_config(name: str, below: str = "") -> Path:
    """A YAML file: a path that exists, else a name that is unique under `configs/`.

    Raises:
        UsageError: There is none; suggests close names.
    """
    if Path(name).is_file():
        return Path(name)
    files = {p.stem: p for p in sorted((shipped("configs") / below).rglob("*.yaml"))}
    if name not in files:
        close = difflib.get_close_matches(name, files, n=3, cutoff=0.4)
        kind = "protocol" if below == "protocols" else "config"
        hint = f"Did you mean {' or '.join(close)}?" if close else f"There are {', '.join(files)}."
        if "/" in name:
            inside = Path(name) / "config.yaml"  # of a result or a run
            hint = f"Did you mean {inside}?" if inside.is_file() else "Check the path."
        raise UsageError(f"No {kind} {name!r}: neither a file nor a name under configs/. {hint}")
    return files[name]


def read_protocol(name: str) -> dict[str, Any]:
    """Read the fields of a protocol, by name or path.

    Where they lack `patience`, it is what the shipped configs of datasets state for a protocol of this name.

    Raises:
        UsageError: No such file, or no YAML.
    """
    content = read_yaml(find_config(name, "protocols"))
    if "patience" not in content:
        name = str(content.get("name"))
        stated = {task: facts.get(PUBLISHED, {}).get(name, {}) for task, facts in task_configs().items()}
        patience = {task: fields["patience"] for task, fields in stated.items() if "patience" in fields}
        content |= {"patience": patience} if patience else {}
    return content


def tasks_of_board(name: str) -> list[str]:
    """The names of the shipped configs that name a board."""
    return [task for task, facts in task_configs().items() if name in facts.get(BOARDS, [])]


@cache
def task_configs() -> dict[str, dict[str, Any]]:
    """The shipped configs of datasets, by name; read once, as every protocol asks them."""
    return {path.stem: read_yaml(path) for path in sorted((shipped("configs") / "tasks").glob("*.yaml"))}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UsageError: It does not parse, or holds something else.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"Expected YAML in {path}, but it does not parse: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise UsageError(f"Expected a mapping in {path}, but got a {type(content).__name__}.")
    return content


class _Loader(yaml.SafeLoader):
    """Reads 3e-4 as a number, as YAML 1.2 does and the command line; PyYAML's own wants 3.0e-4."""


_POWERS = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _POWERS, list("-+0123456789"))


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    """Text with the meaning that `~/` has in a shell; an anchor is expanded once, however often it is named."""
    text = loader.construct_scalar(node)
    return os.path.expanduser(text) if text.startswith("~") else text


_Loader.add_constructor("tag:yaml.org,2002:str", _text)


def first_reason(error: Exception) -> str:
    """One line from jsonargparse's several: the flag in question, and the innermost reason."""
    text = re.sub(r"\n *- Expected (a )?<class 'NoneType'>", "", str(error))
    text = re.split(r"\n *Given value type:", text)[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    keys: list[str] = []
    for key in re.findall(r'Parser key "([^"]+)"', str(error)):
        if keys and f"{key}.".startswith(f"{keys[-1]}."):  # the inner one has the outer one's name before its own
            keys.pop()
        keys.append(key)
    flag = f"--{'.'.join(keys)}: " if keys else ""
    literal = r"typing\.Literal\[(.*?)\]"
    choice = re.search(literal + r"\. Got value: (.*)", text) or re.search(
        literal + r".*\n *Given value: (?!NestedArg|Namespace)(.*)", str(error), re.DOTALL
    )
    if choice:
        return flag + _one_of(re.findall(r"'([^']*)'", choice[1]), choice[2])
    reason = re.sub(r'^(- )?(Parser key "[^"]+": )?', "", lines[-1]).rstrip(".").replace(". Got value: ", ", but got ")
    given = re.search(r"Given value: (?!NestedArg|Namespace)(.*)", str(error))
    if given and re.fullmatch(r"Expected (a )?<class '\w+'>", reason):
        reason += f", but got {given[1]}"
    return flag + re.sub(r"(a )?<class '(\w+)'>", r"\2", reason) + "."


def _one_of(choices: Sequence[str], given: str) -> str:
    close = difflib.get_close_matches(given, choices, n=1)
    given = given or "''"
    return f"Expected one of {', '.join(choices)}, but got {given}.{f' Did you mean {close[0]}?' if close else ''}"
