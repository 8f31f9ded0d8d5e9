"""The metrics of a risk under weights of the patients, for the bootstrap."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eva_vision.slide_level.survival.censoring import inverse_censoring
from eva_vision.slide_level.survival.concordance import concordance
from eva_vision.slide_level.survival.metric_names import METRICS
from eva_vision.slide_level.survival.targets import Outcomes
from eva_vision.slide_level.survival.time_auc import quartile_times, time_auc


def weighted(
    risks: NDArray[np.floating],
    outcomes: Outcomes,
    weights: NDArray[np.float64],
    wanted: Sequence[str] = tuple(METRICS),
) -> dict[str, NDArray[np.float64]]:
    """Metrics of one run under many weightings of the patients.

    Args:
        risks: Greater where the event is expected sooner, (N,).
        outcomes: The patients.
        weights: Non-negative weights of them, (d, N); whole numbers give what the repeated patients would.
        wanted: Names of the metrics that are computed.

    Returns:
        Values (d,) by name, NaN where undefined: the metrics, then `auc_t/<time>` at each quartile of the event times
        of all patients. Times at which all patients have no AUC do not count in the mean; a draw that lacks another
        has no mean.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if risks.shape != outcomes.times.shape or weights.ndim != 2 or weights.shape[1] != len(risks):
        raise ValueError(
            f"Expected risks ({len(outcomes.times)},) and weights (draws, {len(outcomes.times)}), but got "
            f"{risks.shape} and {weights.shape}."
        )
    values: dict[str, NDArray[np.float64]] = {}
    censoring = inverse_censoring(outcomes, weights) if set(wanted) - {"c_harrell"} else weights
    if "c_harrell" in wanted:
        values["c_harrell"] = concordance(risks, outcomes, weights)
    if "c_uno" in wanted:
        values["c_uno"] = concordance(risks, outcomes, weights, censoring**2)
    if "auc_t" in wanted:
        by_time = {f"auc_t/{time:g}": time for time in quartile_times(outcomes).tolist()}
        each = {name: time_auc(risks, outcomes, weights, censoring, time) for name, time in by_time.items()}
        once = np.ones((1, len(risks)))
        of_all = inverse_censoring(outcomes, once)
        counting = [
            each[name] for name, time in by_time.items() if not np.isnan(time_auc(risks, outcomes, once, of_all, time))
        ]
        values["auc_t"] = np.mean(counting, axis=0) if counting else np.full(len(weights), np.nan)
        values.update(each)
    return values
