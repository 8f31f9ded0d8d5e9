"""Plot of one model under shifts: a panel a change, the score with its interval and the share of flipped decisions."""

import io
import textwrap
from pathlib import Path
from typing import Any

from eva_core.files.atomic_files import write_bytes
from eva_core.shown import for_matplotlib
from eva_vision.shifts.contracts import strength_text

_SCORE, _FLIPPED, _REFERENCE, _DROP = "#1b4f72", "#b9770e", "#7b7d7d", "#b3261e"
_ACROSS = 4


def draw(content: dict[str, Any], number: int, path: Path) -> Path:
    """Write a PNG of one model.

    Args:
        content: As shift.json holds it.
        number: Number of the model there.
        path: Destination.
    Returns:
        The destination.
    """
    from matplotlib.figure import Figure

    entry, names = content["models"][number], list(content["changes"])
    across = min(_ACROSS, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(0.6 + 3.3 * across, 1.3 + 2.7 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        _panel(axes, content, entry, name)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    data = f"{content['dataset']} {content['split']}" + (" (synthetic data)" if content["synthetic"] else "")
    title = f"{entry['model']} on {data}: {entry['head']}, {entry['protocol']}, n = {entry['n']}"
    figure.suptitle(for_matplotlib(title), x=0.01, ha="left", fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    write_bytes(path, file.getvalue())
    return path


def _panel(axes: Any, content: dict[str, Any], entry: dict[str, Any], name: str) -> None:
    metric, facts = content["metric"], content["changes"][name]
    rows = [row for row in entry["shifts"] if row["change"] == name]
    texts = [strength_text(row["strength"]) for row in rows]
    if facts["ordered"]:  # below the neutral strength from strong to mild, so that the axis runs one way
        below = [row for row in rows if row["strength"] < facts["neutral"]]
        above = [row for row in rows if row["strength"] >= facts["neutral"]]
        rows = [*below[::-1], _unchanged(entry, facts["neutral"]), *above] if below and above else rows
        texts = [strength_text(row["strength"]) for row in rows]
    places = list(range(len(rows)))
    clean = entry["clean"][metric]
    label = f"score as the {content['unit']} are"
    axes.axhline(clean["mean"], color=_REFERENCE, linewidth=1, linestyle="--", label=label, zorder=0)
    if content["chance"] is not None:
        axes.axhline(content["chance"], color=_REFERENCE, linewidth=1, linestyle=":", label="chance", zorder=0)
    line = "o-" if facts["ordered"] else "o"
    for values, colour, label in (
        ([row["scores"][metric] for row in rows], _SCORE, f"{metric.replace('_', ' ')}, 95 % interval"),
        ([row["flipped"]["images"] for row in rows], _FLIPPED, f"flipped decisions, share of {content['unit']}"),
    ):
        means = [record["mean"] for record in values]
        bounds = [record["ci95"] or (record["mean"], record["mean"]) for record in values]
        axes.vlines(places, *zip(*bounds, strict=True), color=colour, alpha=0.45, linewidth=2)
        axes.plot(places, means, line, color=colour, markersize=4, linewidth=1.2, label=for_matplotlib(label))
    drops = [(place, row["scores"][metric]["mean"]) for place, row in zip(places, rows, strict=True) if row["drop"]]
    axes.plot(
        *(zip(*drops, strict=True) if drops else ([], [])), "v", color=_DROP, markersize=8, label="drop told from zero"
    )
    axes.set_xticks(places, [_tick(t, r) for t, r in zip(texts, rows, strict=True)], fontsize=7)
    axes.set_title("\n".join(map(for_matplotlib, textwrap.wrap(facts["label"], 36))), loc="left", fontsize=9)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _unchanged(entry: dict[str, Any], neutral: float) -> dict[str, Any]:
    """The images as they are, between strengths on two sides."""
    none = {"images": {"mean": 0.0, "ci95": None}}
    return {"strength": neutral, "scores": entry["clean"], "flipped": none, "drop": False, "pixel_difference": 0.0}


def _tick(text: str, row: dict[str, Any]) -> str:
    """A strength, and by how many grey levels it moves a pixel."""
    lines = [for_matplotlib(part) for part in text.split("_")]
    return "\n".join(lines if row["pixel_difference"] is None else [*lines, f"({row['pixel_difference']:.1f})"])
