"""What a report shows of several labels: metrics, each label, its curves, and the images that are furthest off."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from eva_core.classification.curves import precision_recall, roc
from eva_core.contracts.sections import CurvesSection, Section, TableSection
from eva_core.reports.sources import Sources
from eva_core.results.report import span
from eva_vision.multilabel.metric_names import METRICS
from eva_vision.multilabel.metrics import POSITIVE
from eva_vision.multilabel.predictions import LabelScores, read_labels

LINES, WORST = 12, 12
"""Most lines of a plot; how many images are listed."""


def sections(sources: Sources) -> list[Section]:
    """The parts of a report that several labels have of their own, of the main split."""
    results = sources.results
    split = results["main"]["split"]
    found = read_labels(sources.folder, split)
    metrics = results["splits"][split]["metrics"]
    nulls = {name: b["splits"][split]["metrics"] for name, b in results["baselines"].items()}
    nulls.pop(results["identity"]["model"], None)
    return [
        _metrics(metrics, nulls, split),
        _labels(found, metrics, nulls, split),
        *_curves(found, metrics, "auroc", "ROC", ("false positive rate", "true positive rate"), roc),
        *_curves(found, metrics, "auprc", "Precision and recall", ("recall", "precision"), precision_recall),
        _worst(found),
    ]


def _metrics(metrics: Any, nulls: dict[str, Any], split: str) -> TableSection:
    rows: list[list[str | float | None]] = [
        [
            name + ("" if METRICS[name].higher_is_better else ", lower is better"),
            metrics[name]["mean"],
            span(metrics[name]["ci95"]),
            *(of[name]["mean"] for of in nulls.values()),
        ]
        for name in METRICS
    ]
    return {
        "kind": "table",
        "title": "Metrics",
        "note": f"On {split}, mean over runs, each the mean over the labels that have it.",
        "columns": ["metric", "value", "95 % interval", *nulls],
        "rows": rows,
    }


def _labels(found: LabelScores, metrics: Any, nulls: dict[str, Any], split: str) -> TableSection:
    rows: list[list[str | float | None]] = []
    for number, label in enumerate(found.labels):
        column = found.targets[:, number]
        annotated, there = int((~np.isnan(column)).sum()), int((column >= POSITIVE).sum())
        auprc = metrics[f"auprc/{label}"]
        rows.append(
            [
                label,
                f"{there:,} of {annotated:,}",
                auprc["mean"],
                span(auprc["ci95"]),
                *(metrics[f"{name}/{label}"]["mean"] for name in ("auroc", "f1", "brier", "ece")),
                *(of[f"auprc/{label}"]["mean"] for of in nulls.values()),
            ]
        )
    rows.sort(key=lambda row: (row[2] is None, row[2]))
    return {
        "kind": "table",
        "title": "Labels",
        "note": f"On {split}, mean over runs; the label with the lowest AUPRC comes first. One that no image has, or "
        "all have, has none: it is left out of the mean.",
        "columns": [
            *("label", "images that have it", "AUPRC", "95 % interval", "AUROC", "F1", "Brier", "ECE"),
            *(f"AUPRC of {name}" for name in nulls),
        ],
        "rows": rows,
        "bars": [2],
    }


def _curves(
    found: LabelScores,
    metrics: Any,
    name: str,
    title: str,
    axes: tuple[str, str],
    curve: Callable[[NDArray[np.floating], NDArray[np.bool_]], list[tuple[float, float]]],
) -> list[Section]:
    areas = []
    for number, label in enumerate(found.labels):
        rows = ~np.isnan(found.targets[:, number])
        points = curve(found.log_odds[:, rows, number], found.targets[rows, number] >= POSITIVE)
        if points:
            areas.append((metrics[f"{name}/{label}"]["mean"], label, points))
    if not areas:
        return []
    areas.sort()
    rest = f" The {LINES} worst of {len(areas)} labels." if len(areas) > LINES else ""
    section: CurvesSection = {
        "kind": "curves",
        "title": title,
        "note": f"Each label, mean over runs; the worst comes first.{rest}",
        "x": axes[0],
        "y": axes[1],
        "series": [
            {"name": f"{label} {area:.3f}", "points": [(round(x, 3), round(y, 4)) for x, y in points]}
            for area, label, points in areas[:LINES]
        ],
    }
    if name == "auprc":
        section["ranges"] = ((0.0, 1.0), (0.0, 1.0))  # where the diagonal means nothing
    return [section]


def _worst(found: LabelScores) -> TableSection:
    mean = expit(found.log_odds.astype(np.float64)).mean(axis=0)
    errors = np.nan_to_num(np.abs(mean - found.targets), nan=-1.0)  # (N, L)
    order = np.argsort(-errors.max(axis=1), kind="stable")[:WORST]
    rows: list[list[str | float | None]] = []
    for n in (int(n) for n in order if errors[n].max() >= 0):
        label = int(errors[n].argmax())
        values = float(found.targets[n, label]), float(mean[n, label])
        rows.append([found.ids[n], found.groups[n] or "–", found.labels[label], *values])
    return {
        "kind": "table",
        "title": "Furthest off",
        "note": "The images with the largest error of a single label, by the mean of all runs.",
        "columns": ["image", "group", "label", "annotated", "said"],
        "rows": rows,
    }
