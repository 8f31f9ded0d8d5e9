"""What results.json says of a split: values of each run, mean, spread and interval."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from eva_core.contracts.metric import Metric
from eva_core.contracts.results import MetricRecord, SplitRecord
from eva_core.statistics.calibration import Gaps
from eva_core.statistics.intervals import Intervals, Measure, interval

Values = dict[str, float | None]


def measured_record(
    selected: Sequence[Measure],
    last: Sequence[Measure],
    n: int,
    groups: Sequence[str | None] | None,
    facts: Mapping[str, Metric] = MappingProxyType({}),
    gaps: Mapping[str, Sequence[Gaps]] = MappingProxyType({}),
) -> tuple[SplitRecord, Intervals]:
    """What results.json says of one split, of whatever is measured under weights of the samples.

    Args:
        selected: Measures of the selected heads, one for each run.
        last: Measures of the heads after their last step, one for each run.
        n: Number of samples.
        groups: Patient or slide of each sample; None where nothing is known.
        facts: Facts of the metrics, by name.
        gaps: What calibration errors sum, by metric and run, as `interval` takes it.
    """
    values, at_last = ([_unweighted(measure, n) for measure in measures] for measures in (selected, last))
    return record_of(values, at_last, selected, n, groups, gaps, facts)


def _unweighted(measure: Measure, n: int) -> Values:
    values = {name: float(value[0]) for name, value in measure(np.ones((1, n))).items()}
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def record_of(
    values: Sequence[Values],
    at_last: Sequence[Values],
    measures: Sequence[Measure],
    n: int,
    groups: Sequence[str | None] | None,
    gaps: Mapping[str, Sequence[Gaps]] = MappingProxyType({}),
    facts: Mapping[str, Metric] = MappingProxyType({}),
) -> tuple[SplitRecord, Intervals]:
    """Values of each run, mean, spread and interval of every metric; and the intervals behind them.

    Args:
        values: Values of the selected heads, by run.
        at_last: Values of the heads after their last step, by run.
        measures: Measures of the selected heads under weights of the samples, by run.
        n: Number of samples.
        groups: Patient or slide of each sample; None where nothing is known.
        gaps: What calibration errors sum, by metric and run, as `interval` takes it.
        facts: Facts of the metrics, by name.
    """
    intervals = interval(measures, n, groups, gaps=gaps, metrics=facts)
    metrics = {
        name: _metric_record(name, [v[name] for v in values], [v[name] for v in at_last], intervals)
        for name in values[0]
    }
    record: SplitRecord = {
        "n": n,
        "n_groups": intervals.n_groups if groups is not None else None,
        "interval": intervals.kind,
        "metrics": metrics,
    }
    return record, intervals


def _metric_record(
    name: str, values: list[float | None], at_last: list[float | None], intervals: Intervals
) -> MetricRecord:
    """One metric of one split; the standard deviation over runs is null for a single run."""
    known = [v for v in values if v is not None]
    std = float(np.std(known, ddof=1)) if len(known) > 1 else None
    record: MetricRecord = {
        "mean": _mean(values),
        "std": std,
        "ci95": intervals.ci95[name],
        "values": values,
        "last": _mean(at_last),
    }
    if known and intervals.left_out[name]:
        record["left_out"] = intervals.left_out[name]
    if intervals.t95:
        record["t95"] = intervals.t95[name]
    return record


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
