"""Plot of a curve: score with interval by share of train, a line a model."""

import io
from pathlib import Path
from typing import Any

from eva_core.curves.schema import Curve
from eva_core.curves.table import columns_of, interval_of, nulls_of, percent
from eva_core.files.atomic_files import write_bytes
from eva_core.shown import for_matplotlib

_COLOURS = ("#1b4f72", "#b9770e", "#1e8449", "#7d3c98", "#b3261e", "#117a8b", "#5d6d7e", "#784212")
_MARKS = "os^Dv<>P"
_REFERENCE = "#7b7d7d"
_DASHES = ("--", "-.", (0, (1, 2)))


def draw(curve: Curve, path: Path) -> Path:
    """Write a PNG; the axis of the shares is logarithmic, as each further point needs a multiple of labels.

    Args:
        curve: As curve.json holds it.
        path: Destination.
    Returns:
        The destination.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 5.2), layout="constrained")
    axes = figure.subplots()
    shares = [facts["share"] for facts in curve["shares"]]
    count = len(curve["models"])
    for number, model in enumerate(curve["models"]):
        known = [(point, mean) for point in model["points"] if (mean := point["mean"]) is not None]
        aside = 1.02 ** (number - (count - 1) / 2)  # intervals of several models stand beside each other
        x, y = [point["share"] * aside for point, _ in known], [mean for _, mean in known]
        bounds = [interval_of(point) or [mean, mean] for point, mean in known]
        colour = _COLOURS[number % len(_COLOURS)]
        if known:
            axes.vlines(x, *zip(*bounds, strict=True), color=colour, alpha=0.45, linewidth=2)
        label = for_matplotlib(model["model"])
        axes.plot(x, y, f"{_MARKS[number % len(_MARKS)]}-", color=colour, markersize=5, linewidth=1.4, label=label)
    for dashes, (name, values) in zip(_DASHES, nulls_of(curve).items(), strict=False):
        there = [(share, value) for share, value in zip(shares, values, strict=True) if value is not None]
        if there:
            axes.plot(*zip(*there, strict=True), linestyle=dashes, color=_REFERENCE, label=for_matplotlib(name))
    if curve["chance"] is not None:
        axes.axhline(curve["chance"], color=_REFERENCE, linewidth=1, linestyle=":", label="chance", zorder=0)
    _finish(axes, curve, shares)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    data = f"{curve['dataset']} {curve['split']}" + (" (synthetic data)" if curve["synthetic"] else "")
    title = for_matplotlib(f"{data}: {curve['head']}, {curve['protocol']}, n = {curve['n_reported']}")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    write_bytes(path, content.getvalue())
    return path


def _finish(axes: Any, curve: Curve, shares: list[float]) -> None:
    axes.set_xscale("log")
    columns = columns_of(curve)
    counts = ["\n".join(values) for values in zip(*columns.values(), strict=True)]
    ticks = [f"{percent(share)}\n{under}" for share, under in zip(shares, counts, strict=True)]
    axes.set_xticks(shares, ticks, fontsize=8)
    axes.minorticks_off()
    axes.set_xlabel(" / ".join(["share of train", *columns]), fontsize=9)
    axes.set_ylabel(for_matplotlib(f"{curve['metric'].replace('_', ' ')}, 95 % interval"))
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
