"""Plot of a study: score with interval of each variant, in- and out-of-distribution side by side."""

import io
from pathlib import Path
from typing import Any

from eva_core.errors import some
from eva_core.files.atomic_files import write_bytes
from eva_core.shown import for_matplotlib
from eva_pretrain.studies.study import SIDES
from eva_pretrain.studies.table import TITLES

_SCORE, _SEED, _REFERENCE = "#1b4f72", "#5dade2", "#7b7d7d"


def draw(record: dict[str, Any], path: Path) -> Path:
    """Write a PNG of study.json: means with 95 % intervals, seeds as dots, the untrained variant and colour as lines.

    Args:
        record: Content of study.json.
        path: Destination.

    Returns:
        The destination.
    """
    from matplotlib.figure import Figure

    sides = [side for side in SIDES if any(task["side"] == side for task in record["tasks"])]
    names = [for_matplotlib(variant["name"]) for variant in record["variants"]]
    width = max(4.2, 1.2 + 0.75 * len(names))
    figure = Figure(figsize=(1 + width * len(sides), 4.6), layout="constrained")
    for axes, side in zip(figure.subplots(1, len(sides), squeeze=False)[0], sides, strict=True):
        _panel(axes, record, side)
        axes.set_xticks(range(len(names)), names, rotation=30 if max(map(len, names)) > 6 else 0, ha="center")
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.grid(axis="y", alpha=0.3)
        axes.set_title(
            TITLES[side].capitalize() + f": {for_matplotlib(some(_tasks(record, side), 3))}", loc="left", fontsize=10
        )
        axes.set_ylabel(_metric(record, side))
        axes.spines[["top", "right"]].set_visible(False)
    shown = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if shown:
        columns = 2 * len(sides)  # four are wider than one panel
        figure.legend(
            shown.values(), shown.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=9
        )
    title = record["title"] + (" (synthetic data)" if record["synthetic"] else "")
    figure.suptitle(for_matplotlib(title), x=0.01, ha="left")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    write_bytes(path, content.getvalue())
    return path


def _panel(axes: Any, record: dict[str, Any], side: str) -> None:
    for at, variant in enumerate(record["variants"]):
        scores = variant[side]
        if scores["mean"] is None:
            axes.annotate("no score", (at, 0.02), xycoords=("data", "axes fraction"), ha="center", color=_REFERENCE)
            continue
        low, high = scores["ci95"] or (scores["mean"], scores["mean"])
        axes.vlines(at, low, high, color=_SCORE, linewidth=2, label=_once(axes, "mean, 95 % interval"))
        axes.plot(at, scores["mean"], "o", color=_SCORE, markersize=7)
        spread = [at + 0.16] * len(scores["values"])
        if len(scores["values"]) > 1:
            axes.plot(spread, scores["values"], "o", color=_SEED, markersize=3.5, label=_once(axes, "each seed"))
    untrained = [v for v in record["variants"] if v["untrained"] and v[side]["mean"] is not None]
    if len(untrained) == 1:
        label = for_matplotlib(f"{untrained[0]['name']}, not trained")
        axes.axhline(untrained[0][side]["mean"], color=_REFERENCE, linestyle="--", linewidth=1, label=label, zorder=0)
    colour = record["colour_stats"].get(side)
    if colour is not None:
        label = "six colour numbers"
        axes.axhline(colour, color=_REFERENCE, linestyle=":", linewidth=1, label=label, zorder=0)


def _once(axes: Any, label: str) -> str:
    """Label for the legend the first time; then an underscore, by which matplotlib leaves it out."""
    return "_" if label in axes.get_legend_handles_labels()[1] else label


def _tasks(record: dict[str, Any], side: str) -> list[str]:
    return [task["name"] for task in record["tasks"] if task["side"] == side]


def _metric(record: dict[str, Any], side: str) -> str:
    metrics = {t["metric"].replace("_", " ") for t in record["tasks"] if t["side"] == side and "metric" in t}
    what = " and ".join(sorted(metrics)) or "score"
    return what if len(_tasks(record, side)) == 1 else f"mean over tasks of {what}"
