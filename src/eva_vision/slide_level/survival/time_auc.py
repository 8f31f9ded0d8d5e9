"""Time-dependent AUC, cumulative / dynamic: who has the event until t, against who is followed beyond t without it.

Cases are weighted by the inverse of the chance to be followed until their event, which puts those in who were censored
before t. Source: Uno et al., JASA 102, 2007; Hung and Chiang, Canadian Journal of Statistics 38, 2010.
"""

import numpy as np
from numpy.typing import NDArray

from eva_vision.slide_level.survival.targets import Outcomes

QUARTILES = (0.25, 0.5, 0.75)


def quartile_times(outcomes: Outcomes) -> NDArray[np.float64]:
    """Event times by which a quarter, half and three quarters of the events have happened; fewer where equal.

    Examples:
        >>> outcomes = Outcomes(np.array([1.0, 2, 3, 4, 5]), np.array([True, True, True, True, False]))
        >>> quartile_times(outcomes).tolist()
        [1.0, 2.0, 3.0]
    """
    times = outcomes.times[outcomes.events]
    if not len(times):
        return np.empty(0)
    return np.unique(np.quantile(times, QUARTILES, method="inverted_cdf"))


def time_auc(
    risks: NDArray[np.floating],
    outcomes: Outcomes,
    weights: NDArray[np.float64],
    inverse_censoring: NDArray[np.float64],
    time: float,
) -> NDArray[np.float64]:
    """AUC at a time under many weightings of the patients; NaN without a case or a control.

    Args:
        risks: Greater where the event is expected sooner, (N,).
        outcomes: The patients; pairs are made within a stratum.
        weights: Non-negative weights of the patients, (d, N).
        inverse_censoring: From `censoring.inverse_censoring` under the same weights, (d, N).
        time: When.

    Returns:
        (d,).
    """
    if np.isnan(risks).any():
        return np.full(len(weights), np.nan)
    places = np.unique(risks, return_inverse=True)[1]
    span = int(places.max(initial=0)) + 1
    places = places + outcomes.stratum * span  # by stratum, then by risk
    cases = np.flatnonzero(outcomes.events & (outcomes.times <= time))
    controls = np.flatnonzero(outcomes.times > time)
    controls = controls[np.argsort(places[controls], kind="stable")]
    begin = outcomes.stratum[cases] * span
    keys = (places[cases], begin, begin + span)
    below, start, end = (np.searchsorted(places[controls], key, side="left") for key in keys)
    up_to = np.searchsorted(places[controls], places[cases], side="right")
    sums = np.zeros((len(weights), len(controls) + 1))
    np.cumsum(weights.take(controls, axis=1), axis=1, out=sums[:, 1:])
    of_cases = (weights * inverse_censoring).take(cases, axis=1)
    before = sums.take(start, axis=1)
    in_order = (sums.take(below, axis=1) + sums.take(up_to, axis=1)) / 2 - before
    pairs = sums.take(end, axis=1) - before
    with np.errstate(invalid="ignore"):
        areas: NDArray[np.float64] = (of_cases * in_order).sum(axis=1) / (of_cases * pairs).sum(axis=1)
    return areas
