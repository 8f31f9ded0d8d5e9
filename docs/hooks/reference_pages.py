"""Reference pages: every command with its help, every setting, every shipped config."""

import inspect
import io
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docstrings import cell, code, described, summary, typed

from eva_core import registry
from eva_core.cli import SUMMARIES
from eva_core.config.files import shipped
from eva_core.registry import Entry

NAVIGATION = [
    {"Commands": "reference/commands.md"},
    {"Settings": "reference/settings.md"},
    {"Configs": "reference/configs.md"},
]
FOLDERS = {
    "tasks": "A dataset each, for `eva fit`.",
    "protocols": "Named protocols, for `--protocol`; [Protocols](../protocols.md) explains them.",
    "boards": "Many models on many tasks, for [`eva leaderboard`](../leaderboard.md).",
    "pretrain": "Runs of [`eva pretrain`](../pretrain.md).",
    "studies": "Variants of a run, for [`eva study`](../studies.md).",
}
"""Purpose of the configs in each folder."""
_WIDTH = "84"


def pages(entries: Sequence[Entry]) -> dict[str, str]:
    """Write the reference pages, as Markdown by path below docs/.

    Args:
        entries: The registered commands.
    """
    return {
        "reference/commands.md": commands(tuple(entries)),
        "reference/settings.md": settings(),
        "reference/configs.md": configs(shipped("configs")),
    }


@cache  # importing what the commands import takes seconds
def commands(entries: tuple[Entry, ...]) -> str:
    """Write every command with the output of its `--help`."""
    order = list(SUMMARIES)
    ranked = sorted(entries, key=lambda e: order.index(e.name) if e.name in order else len(order))
    parts = ["# Commands", "The output of `--help` for each command."]
    for entry in ranked:
        text = _help(entry.load(), [])
        parts += [f"## eva {entry.name}", *_sentence(entry.name), _block(text)]
        for word in _subcommands(text):
            parts += [f"### eva {entry.name} {word}", _block(_help(entry.load(), [word]))]
    return "\n\n".join(parts) + "\n"


def _sentence(name: str) -> list[str]:
    return [f"{SUMMARIES[name][0].upper()}{SUMMARIES[name][1:]}."] if name in SUMMARIES else []


def _help(command: Callable[[list[str]], int | None], words: list[str]) -> str:
    """Capture the output of a command for `--help`."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDTH
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), suppress(SystemExit):
            command([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        os.environ.update({} if before is None else {"COLUMNS": before})
    return re.sub(r"[\x00-\x09\x0b-\x1f]", "", printed.getvalue()).strip()


def _subcommands(text: str) -> list[str]:
    """List the subcommands in a line such as `usage: eva slides {index,show}`."""
    match = re.match(r"usage: eva \w+ \{([\w,]+)\}", text)
    return match[1].split(",") if match else []


def _block(text: str) -> str:
    return f"```text\n{text}\n```"


@cache
def settings() -> str:
    """Write every setting of an evaluation and of pretraining, with type, default and meaning."""
    from eva_core.contracts.cards import Geometry
    from eva_core.contracts.protocol import Protocol
    from eva_core.extraction.settings import Extraction
    from eva_pretrain.run.config import PARTS, Export
    from eva_vision.segmentation.protocol import Segmentation

    parts = [
        "# Settings",
        "Each is a flag, as `--protocol.steps 100`, and a key of a YAML file.",
        "## Evaluate",
        "`eva fit` and `eva predict` start from the protocol `eva-0.4`; the defaults here are those of a protocol that "
        "leaves a field out.",
        *_section("protocol", Protocol),
        *_section("protocol.geometry", Geometry),
        *_section("protocol.segmentation", Segmentation),
        *_section("", Extraction, "Extraction"),
        "## Pretrain",
        "The flags of `eva pretrain`; [Pretrain](../pretrain.md) explains how to choose them.",
    ]
    for name, kind in {**PARTS, "export": Export}.items():
        parts += _section(name, kind)
    for entry in registry.methods.entries():
        parts += _section("method", entry.load(), f"method {entry.name}", ("setup",))
    return "\n\n".join(parts) + "\n"


def _section(prefix: str, kind: Any, title: str = "", without: tuple[str, ...] = ()) -> list[str]:
    """Write the heading and the table of one group of settings.

    Args:
        prefix: Prefix of each name on the command line; may be empty.
        kind: Dataclass, or class whose arguments are the settings.
        title: Heading; the prefix unless given.
        without: Arguments that are not settings.
    """
    texts = {**described(kind, "Attributes"), **described(kind, "Args"), **described(kind.__init__, "Args")}
    rows = []
    for name, (annotation, default) in _arguments(kind).items():
        if name not in without:
            text = cell(texts.get(name, ""))
            rows.append(f"| {code(name)} | {code(typed(annotation))} | {_default(default)} | {text} |")
    flags = f"Flags `--{prefix}.NAME`." if prefix else "Flags `--NAME`."
    table = "| name | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows)
    return [f"### {title or prefix}", " ".join([*filter(None, [summary(kind)]), flags]), table]


def _arguments(kind: Any) -> dict[str, tuple[object, object]]:
    """Collect the type and default of each setting."""
    if is_dataclass(kind):
        values = (
            (f.name, f.type, f.default if f.default_factory is MISSING else f.default_factory()) for f in fields(kind)
        )
        return {name: (annotation, default) for name, annotation, default in values}
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: (p.annotation, MISSING if p.default is p.empty else p.default) for p in parameters}


def _default(value: object) -> str:
    """Write a default as in YAML."""
    if value is MISSING:
        return "required"
    if is_dataclass(value):
        return "see below"
    return code(json.dumps(value, default=list)).replace('"', "")


def configs(folder: Path) -> str:
    """Write every shipped YAML file."""
    parts = ["# Configs", "`--config NAME` finds each of these by its name."]
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        parts += [f"## {group.name}", *([FOLDERS[group.name]] if group.name in FOLDERS else [])]
        for file in sorted(group.glob("*.yaml")):
            parts += [f"### {file.stem}", f"```yaml\n{file.read_text(encoding='utf-8').strip()}\n```"]
    return "\n\n".join(parts) + "\n"
