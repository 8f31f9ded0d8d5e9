"""Tables of a study of shifts: on screen, and as CSV."""

import csv
import io
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eva_core.files.atomic_files import write_text
from eva_core.results.report import number, span
from eva_core.shown import for_spreadsheet, visible

COLUMNS = (
    *("model", "change", "strength", "pixel_difference", "score", "score_low", "score_high"),
    *("difference", "difference_low", "difference_high", "p", "drop_told"),
    *("flipped_images", "flipped_images_low", "flipped_images_high"),
    *("flipped_patients", "flipped_patients_low", "flipped_patients_high", "to_wrong", "to_right"),
    *("cosine", "cosine_p5", "ece", "ece_low", "ece_high"),
)


def write_csv(content: dict[str, Any], path: Path) -> Path:
    """Write a row for each model and shift, and one for the images as they are; returns the path."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in content["models"]:
        clean = {"change": "none", "strength": "", "pixel_difference": 0.0, "scores": entry["clean"]}
        for row in (clean, *entry["shifts"]):
            cells = _cells(row, entry["model"], content["metric"])
            writer.writerow([for_spreadsheet(_rounded(cells.get(name))) for name in COLUMNS])
    write_text(path, file.getvalue())
    return path


def _cells(row: dict[str, Any], model: str, metric: str) -> dict[str, Any]:
    cells: dict[str, Any] = {name: row[name] for name in ("change", "strength", "pixel_difference")}
    cells["model"] = model
    for name, record in (("score", row["scores"][metric]), ("ece", row["scores"]["ece"])):
        cells |= _bounded(name, record["mean"], record["ci95"])
    if "difference" in row:
        difference, flipped = row["difference"], row["flipped"]
        cells |= _bounded("difference", difference["difference"], difference["ci95"])
        cells |= {"p": difference["p"], "drop_told": row["drop"]}
        cells |= {"cosine": row["cosine"]["mean"], "cosine_p5": row["cosine"]["p5"]}
        for name in ("images", "patients"):
            if flipped[name] is not None:
                cells |= _bounded(f"flipped_{name}", flipped[name]["mean"], flipped[name]["ci95"])
        cells |= {name: flipped[name]["mean"] for name in ("to_wrong", "to_right")}
    return cells


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    return "" if value is None else value


def _bounded(name: str, value: float | None, bounds: list[float] | None) -> dict[str, float | None]:
    low, high = bounds or (None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def show(content: dict[str, Any], console: Console | None = None) -> None:
    """Print until where each model holds, by change."""
    console = console or Console()
    table = Table(title=_cell(f"{content['metric']} holds until, {content['dataset']} {content['split']}"))
    table.title_justify = "left"
    table.add_column("change")
    for entry in content["models"]:
        table.add_column(_cell(entry["model"]))
    for name, facts in content["changes"].items():
        said = [_cell(holds(content, entry, name)) for entry in content["models"]]
        table.add_row(_cell(facts["label"]), *said)
    clean = [entry["clean"][content["metric"]] for entry in content["models"]]
    table.add_section()
    table.add_row(f"as the {content['unit']} are", *(f"{number(r['mean'])} ({span(r['ci95'])})" for r in clean))
    console.print(table)


def _cell(text: str) -> str:
    return escape(visible(text))


def holds(content: dict[str, Any], entry: dict[str, Any], change: str) -> str:
    """Say until where the score of a model holds under a change; of one that knows nothing, that it does.

    Args:
        content: As shift.json holds it.
        entry: The model there.
        change: Name of the change.
    """
    clean, chance = entry["clean"][content["metric"]], content["chance"]
    if chance is not None and clean["ci95"] and clean["ci95"][0] <= chance <= clean["ci95"][1]:
        return "no better than chance as it is"
    return holds_text(entry["holds"][change], content["changes"][change]["ordered"])


def holds_text(sides: list[dict[str, Any]], ordered: bool) -> str:
    """Say until where a score holds, in a cell.

    Examples:
        >>> holds_text([{"side": "", "until": 2.0, "first": 4.0, "tried": 4.0}], ordered=True)
        '2, drops at 4'
        >>> holds_text([{"side": "", "until": 4.0, "first": None, "tried": 4.0}], ordered=True)
        '4, the strongest tried'
    """
    if not ordered:
        drops = [str(one["side"]) for one in sides if one["first"] is not None]
        return f"drops: {', '.join(drops)}" if drops else "all that were tried"
    return "; ".join(_side(one) for one in sides)


def _side(one: dict[str, Any]) -> str:
    if one["first"] is None:
        return f"{one['until']:g}, the strongest tried"
    if one["until"] is None:
        return f"drops at {one['first']:g}, the mildest tried"
    return f"{one['until']:g}, drops at {one['first']:g}"
