"""What results.json says of a split: values of each run, mean, spread and interval."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from eva_core.classification.metrics import calibration_gaps, evaluate, weighted
from eva_core.statistics.calibration import Gaps
from eva_core.statistics.intervals import Intervals, Measure, interval, members

Values = dict[str, float | None]


def split_record(
    selected: np.ndarray,
    last: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    groups: Sequence[str | None] | None,
    ranking: np.ndarray | None = None,
    ranking_last: np.ndarray | None = None,
) -> tuple[dict[str, Any], Intervals]:
    """What results.json says of one split of a classification, and the intervals behind it.

    Args:
        selected: Scores of the selected heads, (R, N, C), rows sum to one.
        last: Scores of the heads after their last step, (R, N, C).
        targets: (N,).
        groups: Patient or slide of each sample; None where nothing is known.
        ranking: Log-odds of the selected heads, by which AUROC ranks, (R, N, C); the scores unless given.
        ranking_last: Of the heads after their last step.
    """
    by, by_last = (s if r is None else r for s, r in ((selected, ranking), (last, ranking_last)))
    values, at_last = (
        [
            evaluate(torch.from_numpy(s), torch.from_numpy(targets), classes, torch.from_numpy(r))
            for s, r in zip(scores, ranks, strict=True)
        ]
        for scores, ranks in ((selected, by), (last, by_last))
    )
    measures = [partial(weighted, s, targets, classes, ranking=r) for s, r in zip(selected, by, strict=True)]
    gaps = [partial(calibration_gaps, scores, targets) for scores in selected]
    record, intervals = _record(values, at_last, measures, len(targets), groups, gaps)
    alone = _held_by_one(targets, classes, groups) if intervals.n_groups > 1 else []
    return {**record, **({"held_by_one": alone} if alone else {})}, intervals


def _held_by_one(targets: np.ndarray, classes: Sequence[str], groups: Sequence[str | None] | None) -> list[str]:
    """Classes that a single group, or a single image where none is known, has: how they vary is not known."""
    member, _ = members(groups, len(targets))
    pairs = np.unique(np.stack([targets, member]), axis=1)
    return [name for name, n in zip(classes, np.bincount(pairs[0], minlength=len(classes)), strict=True) if n == 1]


def measured_record(
    selected: Sequence[Measure], last: Sequence[Measure], n: int, groups: Sequence[str | None] | None
) -> tuple[dict[str, Any], Intervals]:
    """The same of anything that is measured under weights of the samples.

    Args:
        selected: Measures of the selected heads, one for each run.
        last: Of the heads after their last step.
        n: Number of samples.
        groups: Patient or slide of each sample; None where nothing is known.
    """
    values, at_last = ([_unweighted(measure, n) for measure in measures] for measures in (selected, last))
    return _record(values, at_last, selected, n, groups)


def _unweighted(measure: Measure, n: int) -> Values:
    values = {name: float(value[0]) for name, value in measure(np.ones((1, n))).items()}
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _record(
    values: Sequence[Values],
    at_last: Sequence[Values],
    measures: Sequence[Measure],
    n: int,
    groups: Sequence[str | None] | None,
    gaps: Sequence[Gaps] | None = None,
) -> tuple[dict[str, Any], Intervals]:
    intervals = interval(measures, n, groups, gaps=gaps)
    metrics = {
        name: {
            **_summary([v[name] for v in values]),
            "ci95": intervals.ci95[name],
            **_left_out(intervals, name, [v[name] for v in values]),
            **({"t95": intervals.t95[name]} if intervals.t95 else {}),
            "values": [v[name] for v in values],
            "last": _mean([v[name] for v in at_last]),
        }
        for name in values[0]
    }
    record = {
        "n": n,
        "n_groups": intervals.n_groups if groups is not None else None,
        "interval": intervals.kind,
        "metrics": metrics,
    }
    return record, intervals


def _left_out(intervals: Intervals, name: str, values: Sequence[float | None]) -> dict[str, int]:
    """How many draws a metric is not defined in, where it is in the split itself."""
    count = intervals.left_out[name]
    return {"left_out": count} if count and any(value is not None for value in values) else {}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _summary(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean, and the standard deviation over runs: null for a single run."""
    known = [v for v in values if v is not None]
    return {"mean": _mean(values), "std": float(np.std(known, ddof=1)) if len(known) > 1 else None}
