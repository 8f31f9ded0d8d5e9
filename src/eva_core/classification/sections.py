"""What a report shows of a classification: metrics, classes, confusions, calibration, curves, map and images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eva_core.classification.curves import confusions, precision_recall, reliability, roc
from eva_core.classification.measures import measure_names
from eva_core.classification.metric_names import METRICS
from eva_core.classification.predictions import Predictions, read_predictions
from eva_core.classification.temperature import scaled
from eva_core.contracts.sections import (
    CurvesSection,
    GallerySection,
    Item,
    MatrixSection,
    Section,
    Series,
    Shown,
    TableSection,
)
from eva_core.reports.embedding_map import embedding_map, nearest_in_train
from eva_core.reports.sources import Sources
from eva_core.results.report import span, temperature_line

IMAGES, NEIGHBOURS = 12, 3
"""How many images a gallery has, and how many training images stand beside each."""
_LINES = 12
"""Most lines of one plot."""
NOTHING = {"mean": None, "ci95": None}
"""Of a metric that a result does not have: it may be older than the metric."""


def sections(sources: Sources, unit: str = "images") -> list[Section]:
    """The parts of a report that are a classification's own, of its main split.

    Args:
        sources: The result, and what is behind it.
        unit: What is classified.
    """
    results = sources.results
    split = results["main"]["split"]
    found = read_predictions(sources.folder, split)
    parts: list[Section] = [
        _metrics(results, split),
        _classes(results, found, split, unit),
        _matrix(found, unit),
        _reliability(results, found, split, unit),
        *_by_class(results, found, split, "auroc"),
        *_by_class(results, found, split, "auprc"),
    ]
    rows = _rows(sources, found)
    galleries = _galleries(sources, found, rows, unit)  # before the map, which takes all the time that images have
    if rows is not None and sources.store is not None:
        store, mean = sources.store, found.scores.mean(0)
        right = np.where(mean.argmax(1) == found.targets, "right", "wrong").tolist()
        colours = {"class": [found.labels[t] for t in found.targets], "right or wrong": right}
        for name, labels in (("site", store.sites[rows]), ("group", store.groups[rows])):
            if (labels != "").any():
                colours[name] = [str(label) or "unknown" for label in labels]
        parts.append(embedding_map(store, rows, colours, sources.thumbnails, unit))
    else:
        gone = "They are not in the cache any more: no map, and no nearest neighbours. `eva fit` computes them again."
        parts.append({"kind": "note", "title": "Embeddings", "note": gone})
    return [*parts, *galleries]


def _rows(sources: Sources, found: Predictions) -> np.ndarray | None:
    """Rows in the store of the images of the split, (N,); None where it is not here or lacks one."""
    if sources.store is None:
        return None
    known = {str(name): row for row, name in enumerate(sources.store.ids)}
    rows = [known.get(name, -1) for name in found.ids]
    return None if -1 in rows else np.array(rows)


def _metrics(results: Any, split: str) -> TableSection:
    metrics = results["splits"][split]["metrics"]
    nulls = {name: b["splits"][split]["metrics"] for name, b in results["baselines"].items()}
    nulls.pop(results["identity"]["model"], None)
    rows: list[list[str | float | None]] = [
        [
            name.replace("_", " ")
            + (", lower is better" if name in METRICS and not METRICS[name].higher_is_better else ""),
            metrics[name]["mean"],
            span(metrics[name]["ci95"]),
            *(of.get(name, NOTHING)["mean"] for of in nulls.values()),
        ]
        for name in (*METRICS, *measure_names(metrics))
        if name in metrics
    ]
    return {
        "kind": "table",
        "title": "Metrics",
        "note": f"On {split}, mean over runs.",
        "columns": ["metric", "value", "95 % interval", *nulls],
        "rows": rows,
    }


def _classes(results: Any, found: Predictions, split: str, unit: str) -> TableSection:
    metrics = results["splits"][split]["metrics"]
    nulls = {name: b["splits"][split]["metrics"] for name, b in results["baselines"].items()}
    nulls.pop(results["identity"]["model"], None)
    table = confusions(found.scores, found.targets)
    counts = np.bincount(found.targets, minlength=len(found.labels))
    rows: list[list[str | float | None]] = []
    for number, label in enumerate(found.labels):
        recall = metrics[f"recall/{label}"]
        interval = recall["ci95"]
        others = np.where(np.arange(len(found.labels)) == number, -1, table[number])
        taken = int(others.argmax())
        rows.append(
            [
                label,
                f"{counts[number]:,}",
                recall["mean"],
                "–" if interval is None else f"{interval[0]:.3f} – {interval[1]:.3f}",
                *(of[f"recall/{label}"]["mean"] for of in nulls.values()),
                metrics[f"f1/{label}"]["mean"],
                metrics[f"auroc/{label}"]["mean"],
                metrics.get(f"auprc/{label}", NOTHING)["mean"],
                f"{found.labels[taken]} ({others[taken] / counts[number] * 100:.0f} %)" if others[taken] > 0 else "–",
            ]
        )
    rows.sort(key=lambda row: (row[2] is None, row[2]))
    columns = [
        "class",
        unit,
        "recall",
        "95 % interval",
        *(f"recall of {name}" for name in nulls),
        "F1",
        "AUROC",
        "AUPRC",
    ]
    note = f"On {split}, mean over runs; the class that is found least comes first."
    bars = [2, *range(4, 4 + len(nulls))]
    return {
        "kind": "table",
        "title": "Classes",
        "note": note,
        "columns": [*columns, "most often taken for"],
        "rows": rows,
        "bars": bars,
    }


def _matrix(found: Predictions, unit: str) -> MatrixSection:
    counts = confusions(found.scores, found.targets).round(1).tolist()
    note = f"Rows are the truth, columns what the head says; {unit}, mean over runs, coloured by the share of the row."
    return {"kind": "matrix", "title": "Confusions", "note": note, "labels": list(found.labels), "counts": counts}


def _reliability(results: Any, found: Predictions, split: str, unit: str) -> CurvesSection:
    ece = results["splits"][split]["metrics"]["ece"]["mean"]
    bins = reliability(found.scores, found.targets)
    known = "" if ece is None else f" Expected calibration error (ECE) {ece:.3f}."
    series: list[Series] = [{"name": "accuracy", "points": _points(bins)}]
    calibration = results.get("calibration")
    if calibration is None:
        known += " No temperature was fitted: no part of train is held out, or the result is older than that."
    else:
        known += f" {temperature_line(calibration).capitalize()}."
    if calibration and calibration["splits"]:
        after = scaled(found, calibration["temperatures"])
        known += f" ECE after it {calibration['splits'][split]['after']['ece']['mean']:.3f}."
        series.append({"name": "after temperature", "points": _points(reliability(after.scores, found.targets))})
    return {
        "kind": "curves",
        "title": "Reliability",
        "note": f"Share of {unit} that are right, by confidence; dashed: both agree.{known} Bars: share of all {unit}.",
        "x": "confidence",
        "y": "share that is right",
        "series": series,
        "shares": [(round(c, 4), round(n, 4)) for c, _, n in bins],
    }


def _points(bins: Sequence[tuple[float, float, float]]) -> list[tuple[float, float]]:
    return [(round(confidence, 4), round(accuracy, 4)) for confidence, accuracy, _ in bins]


def _by_class(results: Any, found: Predictions, split: str, area: str) -> list[Section]:
    """The curves of the classes, the one with the smallest area first: ROC, or precision by recall."""
    title, x, y, curve = {
        "auroc": ("ROC", "false positive rate", "true positive rate", roc),
        "auprc": ("Precision and recall", "recall", "precision", precision_recall),
    }[area]
    numbers = [1] if len(found.labels) == 2 else range(len(found.labels))
    metrics = results["splits"][split]["metrics"]
    curves = [(n, curve(found.ranking[..., n], found.targets == n)) for n in numbers]
    values = [(metrics.get(f"{area}/{found.labels[n]}", NOTHING)["mean"], n, points) for n, points in curves if points]
    areas = sorted((value, n, points) for value, n, points in values if value is not None)
    if not areas:
        return []
    rest = f" The {_LINES} worst of {len(areas)} classes." if len(areas) > _LINES else ""
    what = f"{found.labels[1]} against {found.labels[0]}" if len(found.labels) == 2 else "One class against the rest"
    section: CurvesSection = {
        "kind": "curves",
        "title": title,
        "note": f"{what}, mean over runs; the worst class comes first.{rest}",
        "x": x,
        "y": y,
        "series": [
            {"name": f"{found.labels[n]} {value:.3f}", "points": [(round(x, 3), round(y, 4)) for x, y in points]}
            for value, n, points in areas[:_LINES]
        ],
    }
    if area == "auprc":
        section["ranges"] = ((0.0, 1.0), (0.0, 1.0))  # where the diagonal means nothing
    return [section]


def _galleries(sources: Sources, found: Predictions, rows: np.ndarray | None, unit: str) -> list[Section]:
    mean = found.scores.mean(0)  # (N, C)
    said, sure = mean.argmax(1), mean.max(1)
    wrong = np.flatnonzero(said != found.targets)
    surest = wrong[np.argsort(-sure[wrong], kind="stable")][:IMAGES]
    ordered = np.sort(mean, axis=1)
    least = np.argsort(ordered[:, -1] - ordered[:, -2], kind="stable")[:IMAGES]
    beside, why = _neighbours(sources, found, rows, surest)
    note = f"{len(wrong):,} of {len(said):,} {unit} are wrong by the mean of all runs; here those it is surest of."
    worst = _gallery(sources, found, "Wrong, and sure of it", note, surest, beside)
    worst["beside"] = why
    unsure = _gallery(sources, found, "Least sure", "The two likeliest classes are nearest to each other.", least, [])
    return [part for part in (worst, unsure) if part["items"]]


def _gallery(
    sources: Sources, found: Predictions, title: str, note: str, numbers: np.ndarray, beside: Sequence[list[Shown]]
) -> GallerySection:
    names = [str(found.ids[n]) for n in numbers]
    pictures, mean = sources.thumbnails.pictures(names), found.scores.mean(0)
    items: list[Item] = []
    for place, (name, n, picture) in enumerate(zip(names, numbers, pictures, strict=True)):
        first, second = np.argsort(-mean[n], kind="stable")[:2]
        lines = [f"is {found.labels[found.targets[n]]}", f"said {found.labels[first]} {mean[n, first]:.2f}"]
        if not beside:
            lines.append(f"then {found.labels[second]} {mean[n, second]:.2f}")
        near = beside[place] if beside else []
        items.append({"image": picture, "title": name, "lines": lines, "beside": near})
    return {"kind": "gallery", "title": title, "note": note, "beside": "", "items": items}


def _neighbours(
    sources: Sources, found: Predictions, rows: np.ndarray | None, numbers: np.ndarray
) -> tuple[list[list[Shown]], str]:
    """The nearest training images of some images of the split, and what they are called."""
    store = sources.store
    train = np.array([], np.int64) if store is None else store.rows("train")
    if store is None or rows is None or not len(numbers) or not len(train):
        return [], ""
    at, cosines = nearest_in_train(store, rows[numbers], train, NEIGHBOURS)
    names = [[str(store.ids[row]) for row in line] for line in at]
    pictures = iter(sources.thumbnails.pictures([name for line in names for name in line]))
    shown: list[list[Shown]] = [
        [
            {"image": next(pictures), "title": name, "lines": [f"{found.labels[store.targets[row]]} {cosine:.2f}"]}
            for row, name, cosine in zip(line, line_names, line_cosines, strict=True)
        ]
        for line, line_names, line_cosines in zip(at, names, cosines, strict=True)
    ]
    return shown, "nearest in train, with their class and cosine"
