"""Plot of the learning curve of the evaluation: score with interval by step, a panel for each task."""

import io
from pathlib import Path
from typing import Any

from eva_core.files.atomic_files import write_bytes
from eva_core.shown import for_matplotlib

_SCORE, _REFERENCE = "#1b4f72", "#7b7d7d"


def draw(curve: dict[str, Any], path: Path) -> Path:
    """Write a PNG of a learning curve: scores with 95 % intervals by step, colour as a line.

    Args:
        curve: As `learning_curve.curve_of` gives it.
        path: Destination.

    Returns:
        The destination.
    """
    from matplotlib.figure import Figure

    tasks = curve["tasks"]
    figure = Figure(figsize=(1.2 + 5.2 * len(tasks), 4.4), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _panel(axes, task)
        name = task["name"] + (" (synthetic data)" if task["synthetic"] else "")
        axes.set_title(for_matplotlib(name), loc="left", fontsize=10)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel(for_matplotlib(f"{task['metric'].replace('_', ' ')}, {task['split']}"))
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    shown = {label: handle for a in figure.axes for handle, label in zip(*a.get_legend_handles_labels(), strict=True)}
    if shown:
        figure.legend(
            shown.values(), shown.keys(), loc="outside lower center", ncols=2 * len(tasks), frameon=False, fontsize=9
        )
    figure.suptitle(for_matplotlib(f"{curve['title']}, protocol {curve['protocol']}"), x=0.01, ha="left")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    write_bytes(path, content.getvalue())
    return path


def _panel(axes: Any, task: dict[str, Any]) -> None:
    points = [point for point in task["points"] if point["score"] is not None]
    if not points:
        axes.annotate("no score", (0.5, 0.5), xycoords="axes fraction", ha="center", color=_REFERENCE)
        return
    steps, scores = [p["step"] for p in points], [p["score"] for p in points]
    bounds = [p["ci95"] or (p["score"], p["score"]) for p in points]
    axes.vlines(steps, *zip(*bounds, strict=True), color=_SCORE, alpha=0.45, linewidth=2)
    axes.plot(steps, scores, "o-", color=_SCORE, markersize=5, linewidth=1.2, label="score, 95 % interval")
    if task["colour"] is not None:
        label = "six colour numbers"
        axes.axhline(task["colour"], color=_REFERENCE, linestyle=":", linewidth=1, label=label, zorder=0)
