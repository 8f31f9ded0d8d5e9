"""What a head measures of each sample besides its class, such as precision at k: means beside the metrics."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from eva_core.classification.metric_names import METRICS
from eva_core.contracts.results import Results, SplitRecord
from eva_core.results.report import number, span
from eva_core.statistics.summary import measured_record

Measures = Mapping[str, NDArray[np.float64]]
"""By name, of every run and sample, (R, N) each; between 0 and 1, the higher the better."""


def stacked_measures(of_runs: Sequence[Mapping[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    """Measures of several runs, (N,) each, as one: (R, N) by name."""
    return {name: np.stack([of_run[name] for of_run in of_runs]) for name in of_runs[0]} if of_runs else {}


def add_measures(record: SplitRecord, selected: Measures, last: Measures, groups: Sequence[str | None] | None) -> None:
    """Add the means of measures to what results.json says of a split, with intervals as metrics have them.

    Args:
        record: The split; changed in place.
        selected: Measures of the selected heads.
        last: Measures of the heads after their last step.
        groups: Patient or slide of each sample; None where nothing is known.
    """
    if selected:
        runs = range(len(next(iter(selected.values()))))
        of_selected, of_last = ([partial(_means, of, run) for run in runs] for of in (selected, last))
        record["metrics"] |= measured_record(of_selected, of_last, record["n"], groups)[0]["metrics"]


def _means(measures: Measures, run: int, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Means of one run under many weightings of the samples: weights (draws, N) -> (draws,) by name."""
    return {name: weights @ values[run] / weights.sum(axis=1) for name, values in measures.items()}


def measure_names(metrics: Iterable[str]) -> list[str]:
    """Which names of a result are measures of its head, and no metrics of classes.

    Examples:
        >>> measure_names(["accuracy", "recall/tumour", "precision_at_5"])
        ['precision_at_5']
    """
    return [name for name in metrics if "/" not in name and name not in METRICS]


def measure_notes(results: Results) -> list[str]:
    """What the head measured on the main split, in a line; none where it measures nothing."""
    metrics = results["splits"][results["main"]["split"]]["metrics"]
    said = [
        f"{name.replace('_', ' ')} {number(metrics[name]['mean'])} ({span(metrics[name]['ci95'])})"
        for name in measure_names(metrics)
    ]
    return ["; ".join(said)] if said else []
