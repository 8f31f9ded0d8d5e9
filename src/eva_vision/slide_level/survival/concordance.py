"""Concordance: how often, of two patients, the one with the higher risk has the event first.

A pair counts where one has the event and the other was followed for longer, or as long without it. Equal risks count
half. Harrell's C is the share of such pairs that are in order (Harrell et al., JAMA 247, 1982). The longer patients are
followed the more pairs there are, so it depends on the censoring; Uno's C (Uno et al., Statistics in Medicine 30, 2011)
weights each pair by 1 / G(T)^2, the squared inverse of the chance to be followed until the event. It is truncated at
the last event, beyond which no pair counts: all events do count. G is estimated from the same patients, in each draw.
"""

import numpy as np
from numpy.typing import NDArray

from eva_vision.slide_level.survival.targets import Outcomes

_BLOCK = 2**21  # pairs compared at a time
_EXACT = 2**22  # halves of whole numbers up to here are exact in float32


def concordance(
    risks: NDArray[np.floating],
    outcomes: Outcomes,
    weights: NDArray[np.float64],
    of_events: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Share of the pairs that are in order, under many weightings of the patients; NaN where there is no pair.

    Args:
        risks: Greater where the event is expected sooner, (N,).
        outcomes: The patients; pairs are made within a stratum.
        weights: Non-negative weights of the patients, (d, N).
        of_events: Weight of a pair by the patient that has the event, (d, N): for Uno's C squares of
            `inverse_censoring`. For Harrell's all are 1.

    Returns:
        (d,).

    Examples:
        >>> outcomes = Outcomes(np.array([1.0, 2.0, 3.0]), np.array([True, True, False]))
        >>> concordance(np.array([0.9, 0.1, 0.5]), outcomes, np.ones((1, 3))).round(3).tolist()
        [0.667]
    """
    if np.isnan(risks).any():
        return np.full(len(weights), np.nan)
    stratum = outcomes.stratum
    order = np.lexsort((~outcomes.events, outcomes.times, stratum))  # who has the event at a time is before the others
    risks, events, weights = risks[order], outcomes.events[order], weights.take(order, axis=1)
    counting = weights if of_events is None else weights * of_events.take(order, axis=1)
    start, end = _partners(outcomes.times[order], events, stratum[order])
    kept = np.flatnonzero(events & (start < end))
    sums = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1)], axis=1)
    # whole numbers, as bootstrap weights are, lose nothing in float32, which is twice as fast
    whole = sums[:, -1].max(initial=0) < _EXACT and not np.mod(weights, 1).any()
    factors = weights.astype(np.float32) if whole else weights
    in_order, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    size = max(1, _BLOCK // max(1, len(risks)))
    for at in range(0, len(kept), size):
        rows = kept[at : at + size]
        first, last = int(start[rows].min()), int(end[rows].max())
        after = _in_order(risks[rows], risks[first:last], start[rows] - first, end[rows] - first, factors.dtype)
        of_rows = counting.take(rows, axis=1)
        in_order += np.einsum("dr,dr->d", of_rows, factors[:, first:last] @ after.T)
        pairs += np.einsum("dr,dr->d", of_rows, sums.take(end[rows], axis=1) - sums.take(start[rows], axis=1))
    with np.errstate(invalid="ignore"):
        return in_order / pairs


def _partners(
    times: NDArray[np.float64], events: NDArray[np.bool_], stratum: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Range of the patients that make a pair with each that has the event: ordered patients -> (N,), (N,)."""
    changed = np.append(True, (np.diff(times) != 0) | (np.diff(stratum) != 0))[: len(times)]
    together = np.cumsum(changed) - 1  # number of the time of each
    first = np.flatnonzero(changed)
    start = first + np.bincount(together, events, minlength=len(first)).astype(np.intp)
    return start[together], np.searchsorted(stratum, stratum, side="right")


def _in_order(
    sooner: NDArray[np.floating],
    later: NDArray[np.floating],
    start: NDArray[np.intp],
    end: NDArray[np.intp],
    dtype: np.dtype[np.floating],
) -> NDArray[np.floating]:
    """1 where the sooner has the higher risk, 0.5 for equal ones, 0 where they are no pair, (rows, columns)."""
    column = np.arange(len(later))
    share = (sooner[:, None] > later).astype(dtype)
    share += np.where(sooner[:, None] == later, dtype.type(0.5), dtype.type(0))
    share *= (column >= start[:, None]) & (column < end[:, None])
    return share
