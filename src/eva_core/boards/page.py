"""The leaderboard as one HTML file: data, style and script inside, no network."""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eva_core.boards.rows import Column, Row, Standings
from eva_core.files.atomic_files import write_text
from eva_core.page_theme import read_template
from eva_core.shown import visible_in

TEMPLATE = Path(__file__).with_name("page.html")
CARD = ("licence", "gated", "source", "trained_on", "mpp", "dim", "patch_size")


def write_page(standings: Standings, path: Path) -> Path:
    """Write the page and return where it is."""
    data = {
        "title": standings.title,
        "protocol": standings.protocol,
        "pending": standings.pending,
        "version": version("eva-pathology"),
        "tasks": [_column(task) for task in standings.tasks],
        "rows": [_row(row) for row in standings.rows],
        "conflicts": standings.conflicts,
    }
    text = json.dumps(visible_in(data), separators=(",", ":")).replace("<", "\\u003c")  # no string is markup
    write_text(path, read_template(TEMPLATE).replace("__DATA__", text))
    return path


def _column(task: Column) -> dict[str, Any]:
    """A task as the page wants it: JSON knows no infinity."""
    return {**asdict(task), "metric": task.metric_name, "lower": not task.metric.higher_is_better}


def _row(row: Row) -> dict[str, Any]:
    content = asdict(row)
    content["card"] = {name: row.card.get(name) for name in CARD if row.card}
    content["cells"] = {task: _rounded(cell) for task, cell in content["cells"].items()}
    return content


def _rounded(cell: Any) -> Any:
    """Round to nine digits: rounding to three is then right, and a board of 30 models stays small."""
    if isinstance(cell, dict):
        return {k: _rounded(v) for k, v in cell.items() if v is not None and v != ""}
    if isinstance(cell, list):
        return [_rounded(v) for v in cell]
    return round(cell, 9) if isinstance(cell, float) else cell
