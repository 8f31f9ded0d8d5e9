"""Tables of the figures of all stages as Markdown; rows that were not measured say so."""

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from gpu_stages import STAGES
from gpu_stages.stage import Figures

EMPTY = "not measured yet"


def stage_module(letter: str) -> ModuleType:
    """Import the module of a stage."""
    return import_module(f"gpu_stages.{STAGES[letter].module}")


def markdown(output: Path | None) -> str:
    """Write one table a stage, in order; rows without a figure say so, or why.

    Args:
        output: Folder of the stages' JSON; None: nothing was measured.
    """
    stages = {letter: _read(output, letter) for letter in STAGES}
    machines = {_line(stage["machine"]) for stage in stages.values() if "machine" in stage}
    parts = ["\n".join(sorted(machines)) or f"Card: {EMPTY}."]
    parts += [_stage(letter, stages[letter]) for letter in STAGES]
    return "\n\n".join(parts) + "\n"


def _read(output: Path | None, letter: str) -> Figures:
    file = output / f"{letter}.json" if output else None
    return json.loads(file.read_text()) if file and file.is_file() else {"rows": {}}


def _line(machine: Figures) -> str:
    meaning = "" if machine["measured"] else ": tiny networks, no figure means anything"
    return (
        f"{machine['device']}{meaning}, {machine['cores']} cores, torch {machine['torch']} (CUDA {machine['cuda']}), "
        f"Python {machine['python']}, {machine['date']}."
    )


def _stage(letter: str, stage: Figures) -> str:
    stopped = [f"Stopped: {stage['stopped']}.", ""] if "stopped" in stage else []
    try:
        module = stage_module(letter)
    except Exception as error:  # the other stages have their tables
        return "\n".join([f"### ({letter}) {STAGES[letter].module}", "", *stopped, f"Not to be imported: {error}"])
    rows = stage["rows"]
    lines = [f"### ({letter}) {module.TITLE}", "", *stopped]
    extra = [key for key in ("by_depth", "gradient") if any(key in row for row in rows.values())]
    names = [*module.COLUMNS, *extra, "seconds"]
    lines += _table(
        ["", *(name.replace("_", " ") for name in names)],
        [[name, *_cells(rows.get(name, {}), names)] for name in module.ROWS],
    )
    for name, row in rows.items():
        if table := row.get("table"):
            lines += [
                "",
                f"The most costly of `{name}`:",
                "",
                *_table([*table[0]], [map(_cell, r.values()) for r in table]),
            ]
    return "\n".join(lines)


def _cells(row: Figures, names: Sequence[str]) -> list[str]:
    if not row:
        return [EMPTY, *("" for _ in names[1:])]
    for key in ("failed", "left_out"):
        if key in row:
            return [f"{key.replace('_', ' ')}: {row[key]}", *("" for _ in names[1:-1]), _cell(row["seconds"])]
    return [_cell(row.get(name)) for name in names]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**NO**"
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}" if 0.99 < value < 1 else f"{value:.4g}"
    return "" if value is None else str(value)


def _table(header: Sequence[str], rows: Sequence[Any]) -> list[str]:
    def line(cells: Any) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(header), "|" + "---|" * len(header), *(line(row) for row in rows)]
