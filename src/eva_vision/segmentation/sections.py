"""What a report shows of a segmentation: classes, the spread over images, the worst of them, and overlays."""

from typing import Any, cast

import numpy as np

from eva_core.contracts.sections import HistogramSection, PicturesSection, Section, TableSection
from eva_core.reports.pictures import shown_pictures
from eva_core.reports.sources import Sources
from eva_vision.segmentation.metric_names import DICE
from eva_vision.segmentation.schema import SegmentationResults
from eva_vision.segmentation.scoring.predictions import ImageDice, read_dice

WORST, BINS = 12, 20
"""How many images are listed; bars of the histogram."""

_SHOWN = {DICE: "Dice", "iou": "IoU"}


def sections(sources: Sources) -> list[Section]:
    """The parts of a report that are a segmentation's own, of its main split."""
    results = cast(SegmentationResults, sources.results)
    found = read_dice(sources.folder, results["main"]["split"])
    mean = _over_runs(found.scores)
    parts: list[Section] = [_pictures(sources, results), _classes(results, found)]
    if not np.isnan(mean).all():
        parts += [_histogram(mean), _worst(found, mean)]
    return parts


def _over_runs(scores: np.ndarray) -> np.ndarray:
    """Mean over runs, (R, N, ...) -> (N, ...): NaN where any run is."""
    mean: np.ndarray = scores.mean(0)
    return mean


def _pictures(sources: Sources, results: SegmentationResults) -> PicturesSection:
    note = "Image, truth, prediction and errors by the first run, of the images with the best, median and worst score."
    return {
        "kind": "pictures",
        "title": "Overlays",
        "note": note,
        "items": shown_pictures(sources, results.get("overlays", [])),
    }


def _classes(results: Any, found: ImageDice) -> TableSection:
    main, split = results["main"], results["main"]["split"]
    metrics = results["splits"][split]["metrics"]
    nulls = {name: b["splits"][split]["metrics"] for name, b in results["baselines"].items()}
    defined = (~np.isnan(found.by_class).any(0)).sum(0)  # (C,)
    kinds = [kind for kind in _SHOWN if f"{kind}/{found.labels[0]}" in metrics]
    kinds.sort(key=lambda kind: kind != main["metric"])
    rows: list[list[str | float | None]] = []
    for label, images in zip(found.labels, defined, strict=True):
        row: list[str | float | None] = [label]
        for kind in kinds:
            record = metrics[f"{kind}/{label}"]
            interval = record["ci95"]
            row += [record["mean"], "–" if interval is None else f"{interval[0]:.3f} – {interval[1]:.3f}"]
        rows.append([*row, *(of[f"{kinds[0]}/{label}"]["mean"] for of in nulls.values()), f"{images:,}"])
    names = [name for kind in kinds for name in (_SHOWN[kind], "95 % interval")]
    columns = ["class", *names, *(f"{_SHOWN[kinds[0]]} of {name}" for name in nulls), "images that have it"]
    left_out = results["background"]
    note = f"On {split}, mean over runs" + (f"; the mean score leaves {left_out} out." if left_out else ".")
    bars = [1, *range(1 + 2 * len(kinds), len(columns) - 1)]
    return {"kind": "table", "title": "Classes", "note": note, "columns": columns, "rows": rows, "bars": bars}


def _histogram(mean: np.ndarray) -> HistogramSection:
    known = mean[~np.isnan(mean)]
    counts, edges = np.histogram(known, BINS, (0, 1))
    note = f"Mean {_SHOWN[DICE]} of each image, over classes and runs; median {np.median(known):.3f}."
    return {
        "kind": "histogram",
        "title": "Images",
        "note": note,
        "x": _SHOWN[DICE],
        "edges": [round(float(edge), 3) for edge in edges],
        "counts": counts.tolist(),
    }


def _worst(found: ImageDice, mean: np.ndarray) -> TableSection:
    order = [int(n) for n in np.argsort(mean, kind="stable") if not np.isnan(mean[n])][:WORST]
    by_class = _over_runs(found.by_class)
    rows: list[list[str | float | None]] = [
        [found.ids[n], float(mean[n]), *(None if np.isnan(v) else float(v) for v in by_class[n])] for n in order
    ]
    return {
        "kind": "table",
        "title": "Worst images",
        "note": f"Mean {_SHOWN[DICE]}, and that of each class; a dash where neither truth nor prediction has it.",
        "columns": ["image", _SHOWN[DICE], *found.labels],
        "rows": rows,
        "bars": [1],
    }
