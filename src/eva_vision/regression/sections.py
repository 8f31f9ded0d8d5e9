"""What a report shows of a regression: truth against prediction, the outputs, and the samples that are furthest off."""

from typing import Any

import numpy as np

from eva_core.contracts.sections import ScatterSection, Section, TableSection
from eva_core.reports.sources import Sources
from eva_vision.regression.folds import of_each_output
from eva_vision.regression.metric_names import METRICS
from eva_vision.regression.predictions import Values, read_values

POINTS, WORST = 2000, 12
"""Most points of a scatter; how many samples are listed."""


def sections(sources: Sources) -> list[Section]:
    """The parts of a report that are a regression's own, of its main split."""
    split = sources.results["main"]["split"]
    return sections_of(read_values(sources.folder, split), sources.results)


def sections_of(found: Values, results: Any) -> list[Section]:
    """The parts of a report of these values.

    Args:
        found: The values of the main split.
        results: The content of results.json.
    """
    targets = found.targets.reshape(len(found.ids), len(found.labels))
    mean = found.predicted.reshape(len(found.predicted), *targets.shape).mean(axis=0)
    shown: dict[str, int] = {"": 0}
    if len(found.labels) > 1:
        order = _by_pearson(found, targets)
        shown = {"best": order[-1], "worst": order[0]}
        if len(order) > 2:
            shown = {"best": order[-1], "median": order[len(order) // 2], "worst": order[0]}
    parts: list[Section] = [_scatter(found, targets, mean, which, number) for which, number in shown.items()]
    if len(found.labels) > 1:
        parts.append(_outputs(found, results, targets))
    return [*parts, _worst(found, targets, mean)]


def _by_pearson(found: Values, targets: np.ndarray) -> list[int]:
    """Numbers of the outputs, the worst first; those that are undefined before it."""
    values = _mean_over_runs(found, targets, "pearson")
    return [int(n) for n in np.argsort(np.nan_to_num(values, nan=-2), kind="stable")]


def _mean_over_runs(found: Values, targets: np.ndarray, name: str) -> np.ndarray:
    """A metric of each output, mean over runs, (G,)."""
    runs = found.predicted.reshape(len(found.predicted), *targets.shape)
    means: np.ndarray = np.mean([of_each_output(run, targets, found.folds, name) for run in runs], axis=0)
    return means


def _scatter(found: Values, targets: np.ndarray, mean: np.ndarray, which: str, number: int) -> ScatterSection:
    label, n = found.labels[number], len(targets)
    known = np.flatnonzero(np.isfinite(targets[:, number]) & np.isfinite(mean[:, number]))
    taken: list[int] = (
        known if len(known) <= POINTS else np.sort(np.random.default_rng(0).choice(known, POINTS, replace=False))
    ).tolist()
    some = f" {POINTS:,} of {n:,}, drawn at random." if len(taken) < len(known) else ""
    of = f"The output with the {which} Pearson correlation. " if which else ""
    return {
        "kind": "scatter",
        "title": f"Truth and prediction: {label}" if which else "Truth and prediction",
        "note": f"{of}Prediction is the mean over runs; on the line both agree.{some}",
        "x": f"true {label}",
        "y": f"predicted {label}",
        "points": [(_digits(targets[i, number]), _digits(mean[i, number])) for i in taken],
        "ids": [found.ids[i] for i in taken],
    }


def _digits(value: float) -> float:
    return float(f"{value:.5g}")


def _outputs(found: Values, results: Any, targets: np.ndarray) -> TableSection:
    split = results["main"]["split"]
    metrics = results["splits"][split]["metrics"]
    nulls = {name: b["splits"][split]["metrics"] for name, b in results["baselines"].items()}
    nulls.pop(results["identity"]["model"], None)
    others = [name for name in METRICS if name != "pearson"]
    by_metric = [_mean_over_runs(found, targets, name) for name in others]
    over = "runs" if found.folds is None else "runs and folds"
    rows: list[list[str | float | None]] = []
    for number, label in enumerate(found.labels):
        pearson = metrics[f"pearson/{label}"]
        interval = pearson["ci95"]
        rows.append(
            [
                label,
                pearson["mean"],
                "–" if interval is None else f"{interval[0]:.3f} – {interval[1]:.3f}",
                *(of[f"pearson/{label}"]["mean"] for of in nulls.values()),
                *(None if np.isnan(values[number]) else float(values[number]) for values in by_metric),
            ]
        )
    rows.sort(key=lambda row: (row[1] is not None, row[1]))
    return {
        "kind": "table",
        "title": "Outputs",
        "note": f"On {split}, mean over {over}; the output with the lowest correlation comes first.",
        "columns": ["output", "pearson", "95 % interval", *(f"pearson of {name}" for name in nulls), *others],
        "rows": rows,
        "bars": [1, *range(3, 3 + len(nulls))],
    }


def _worst(found: Values, targets: np.ndarray, mean: np.ndarray) -> TableSection:
    spread = np.nanstd(targets, axis=0)
    scale = np.where(spread > 0, spread, 1) if len(found.labels) > 1 else np.ones(1)
    errors = np.abs(mean - targets) / scale  # outputs have units of their own
    by_sample = np.nan_to_num(errors.mean(axis=1), nan=-1)
    order = [int(i) for i in np.argsort(-by_sample, kind="stable")[:WORST] if by_sample[i] >= 0]
    rows: list[list[str | float | None]] = []
    for i in order:
        number = int(errors[i].argmax())
        values: list[str | float | None] = [
            *((found.labels[number],) if len(found.labels) > 1 else ()),
            float(targets[i, number]),
            float(mean[i, number]),
            float(mean[i, number] - targets[i, number]),
            *((float(by_sample[i]),) if len(found.labels) > 1 else ()),
        ]
        rows.append([found.ids[i], found.groups[i] or "–", *values])
    one = ["truth", "prediction", "residual"]
    many = ["furthest output", *one, "mean error in standard deviations"]
    return {
        "kind": "table",
        "title": "Furthest off",
        "note": "The samples with the largest error of the mean over runs"
        + (", each output in standard deviations of its truth." if len(found.labels) > 1 else "."),
        "columns": ["sample", "group", *(many if len(found.labels) > 1 else one)],
        "rows": rows,
    }
