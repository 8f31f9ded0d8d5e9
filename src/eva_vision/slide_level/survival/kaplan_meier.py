"""Survival curves, and whether two groups differ."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf, logrank


@dataclass(frozen=True)
class Curve:
    """Share of patients without the event, a step at a time (Kaplan and Meier, JASA 53, 1958).

    Attributes:
        times: Times of events and ends of follow-up, from 0, (T + 1,), ascending.
        survival: Share from each time until the next, (T + 1,), from 1.
    """

    times: NDArray[np.float64]
    survival: NDArray[np.float64]

    def median(self) -> float | None:
        """When half have had the event; None where fewer have."""
        below = np.flatnonzero(self.survival <= 0.5)
        return float(self.times[below[0]]) if len(below) else None

    def at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share without the event at some times, none of them below 0."""
        found: NDArray[np.float64] = self.survival[np.searchsorted(self.times, times, side="right") - 1]
        return found


def survival_curve(times: NDArray[np.float64], events: NDArray[np.bool_]) -> Curve:
    """The curve of one group of patients.

    Args:
        times: Time of the event, or until which nothing had happened, (N,), N at least 1.
        events: Whether the event happened at that time, (N,).

    Examples:
        >>> curve = survival_curve(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, True]))
        >>> curve.times.tolist(), curve.survival.round(3).tolist()
        ([0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 0.75, 0.75, 0.375, 0.0])
    """
    estimate = ecdf(_censored(times, events)).sf
    at, share = estimate.quantiles, estimate.probabilities
    if at[0] > 0:
        at, share = np.append(0.0, at), np.append(1.0, share)
    return Curve(at, share)


def at_risk(times: NDArray[np.float64], at: NDArray[np.float64]) -> list[int]:
    """How many are still followed just before some times.

    Examples:
        >>> at_risk(np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 2.0, 3.0]))
        [4, 3, 1]
    """
    return [int((times >= time).sum()) for time in at]


def log_rank(times: NDArray[np.float64], events: NDArray[np.bool_], group: NDArray[np.bool_]) -> float | None:
    """Two-sided p of the log-rank test (Mantel 1966) of two groups; None where one is empty or there is no event.

    Args:
        times: Time of the event, or until which nothing had happened, (N,).
        events: Whether the event happened at that time, (N,).
        group: Whether a patient is of the first group, (N,).
    """
    if group.all() or not group.any() or not events.any():
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        p = float(logrank(_censored(times[group], events[group]), _censored(times[~group], events[~group])).pvalue)
    return None if np.isnan(p) else p


def _censored(times: NDArray[np.float64], events: NDArray[np.bool_]) -> CensoredData:
    return CensoredData.right_censored(times, ~events)
