"""Plots of all samples as PNG, of the sections that a report draws itself: for boards, which show files."""

import io
import textwrap
from pathlib import Path
from typing import Any

from eva_core.contracts.results import Picture, SplitRecord
from eva_core.contracts.sections import CurvesSection, ScatterSection, Section
from eva_core.files.atomic_files import make_folder, write_bytes
from eva_core.files.file_names import as_name
from eva_core.job import Job
from eva_core.reports.sections_html import stepped
from eva_core.shown import for_matplotlib
from eva_vision.slide_level.pictures.examples import FOLDER
from eva_vision.slide_level.scoring import Scoring

_COLOURS = ("#8b3a72", "#2f6f9f", "#b3741e", "#1f7a4d")


def draw_plots(job: Job, scoring: Scoring, predictions: Any, record: SplitRecord, folder: Path) -> list[Picture]:
    """Write the plots of a scoring; returns what results.json says of them.

    Args:
        job: What was asked.
        scoring: Makes the sections.
        predictions: Predictions on the main split.
        record: Scores of the main split.
        folder: The folder of the result.
    """
    pictures: list[Picture] = []
    score = record["metrics"][job.dataset.card.metric]["mean"]
    for section in scoring.plots(predictions, record):
        if section["kind"] not in ("curves", "scatter") or score is None:
            continue
        file = f"{FOLDER}/{as_name(section['title'].lower().replace(' ', '_'))}.png"
        make_folder(folder / FOLDER)
        title = f"{section['title']}, {job.model}, {job.head_name}"
        write_bytes(folder / file, as_png(section, title + (" (SYNTHETIC)" if job.dataset.card.synthetic else "")))
        of = f"{record['n']:,} samples"
        pictures.append({"which": section["title"], "file": file, "id": of, "score": score})
    return pictures


def as_png(section: Section, title: str) -> bytes:
    """A section of curves or points as a picture on white."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.6), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8e4ea", linewidth=0.8)
    axes.set_axisbelow(True)
    if section["kind"] == "curves":
        _curves(axes, section)
    elif section["kind"] == "scatter":
        _scatter(axes, section)
    else:
        raise ValueError(f"Expected a section of curves or points, but got {section['kind']}.")
    said = textwrap.fill(section["note"].partition(". ")[0] + ".", 100)
    axes.set_title(for_matplotlib(f"{title}\n{said}"), loc="left", fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _curves(axes: Any, section: CurvesSection) -> None:
    (x0, x1), (y0, y1) = section.get("ranges", ((0.0, 1.0), (0.0, 1.0)))
    for number, line in enumerate(section["series"]):
        colour = _COLOURS[number % len(_COLOURS)]
        points = stepped(line["points"]) if section.get("step") else line["points"]
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, label=for_matplotlib(line["name"]))
        for mark in line.get("marks", []):
            height = [y for x, y in line["points"] if x <= mark] or [line["points"][0][1]]
            axes.plot([mark], [height[-1]], marker="|", color=colour, markersize=8)
    axes.set_xlim(x0, x1)
    axes.set_ylim(y0, y1 * 1.02)
    axes.set_ylabel(for_matplotlib(section["y"]))
    axes.legend(loc="best", frameon=False, fontsize=9)
    counts = section.get("counts")
    if counts is None:
        axes.set_xlabel(for_matplotlib(section["x"]))
        return
    axes.set_xticks(counts["at"])
    lines = [for_matplotlib(section["x"]) + "\n\n" + for_matplotlib(counts["name"])]
    axes.set_xlabel(lines[0], labelpad=4)
    for row, numbers in enumerate(counts["rows"]):
        for at, n in zip(counts["at"], numbers, strict=True):
            place = {"xytext": (0, -66 - 15 * row), "textcoords": "offset points", "ha": "center", "fontsize": 9}
            axes.annotate(
                f"{n:,}", (at, 0), xycoords=axes.get_xaxis_transform(), color=_COLOURS[row % len(_COLOURS)], **place
            )


def _scatter(axes: Any, section: ScatterSection) -> None:
    x, y = zip(*section["points"], strict=True)
    low, high = min(*x, *y), max(*x, *y)
    pad = (high - low or 1.0) * 0.04
    ends = (low - pad, high + pad)
    axes.plot(ends, ends, color="#b9b3bf", linestyle="--", linewidth=1)
    axes.scatter(x, y, s=18, color=_COLOURS[0], alpha=0.65, linewidths=0)
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_aspect("equal")
    axes.set_xlabel(for_matplotlib(section["x"]))
    axes.set_ylabel(for_matplotlib(section["y"]))
