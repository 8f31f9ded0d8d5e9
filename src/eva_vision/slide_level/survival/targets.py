"""What is known of patients: until when each was followed, and whether the event happened then."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eva_core.errors import UsageError

FEWEST_EVENTS = 2
"""Events that a split must have: with fewer, no pair of patients says anything."""


@dataclass(frozen=True)
class Outcomes:
    """Follow-up of the patients of a split.

    Attributes:
        times: Time of the event, or until which nothing had happened, (N,).
        events: Whether the event happened at that time, (N,) bool.
        strata: Number of the model that gave each risk, such as its fold, (N,); risks of different models do not
            compare. None where one model gave all.
    """

    times: NDArray[np.float64]
    events: NDArray[np.bool_]
    strata: NDArray[np.integer] | None = None

    @cached_property
    def stratum(self) -> NDArray[np.intp]:
        """Stratum of each patient from 0, (N,)."""
        if self.strata is None:
            return np.zeros(len(self.times), np.intp)
        numbers: NDArray[np.intp] = np.unique(self.strata, return_inverse=True)[1].astype(np.intp)
        return numbers

    def twice(self) -> "Outcomes":
        """The same patients two times over, (2 N,)."""
        strata = None if self.strata is None else np.tile(self.strata, 2)
        return Outcomes(np.tile(self.times, 2), np.tile(self.events, 2), strata)


def outcomes_of(times: ArrayLike, events: ArrayLike, names: Sequence[str], splits: Sequence[str]) -> Outcomes:
    """Check times and events as somebody wrote them.

    Args:
        times: Follow-up times, (N,): finite, 0 or more; 0 is an event or the end of follow-up on the first day.
        events: 1 where the event happened, 0 where follow-up ended without it, (N,).
        names: What to call each patient, or its line, in an error, (N,).
        splits: Split of each, (N,).

    Raises:
        UsageError: Names the first that is wrong, or the first split with too few events.
    """
    when, happened = np.asarray(times, np.float64), np.asarray(events, np.float64)
    wrong = np.flatnonzero(~(np.isfinite(when) & (when >= 0)))
    if len(wrong):
        raise UsageError(
            f"Expected the time of each patient to be a number of 0 or more, but {names[wrong[0]]} has "
            f"{when[wrong[0]]:g}{_more(wrong)}. Correct it, or leave the patient out."
        )
    wrong = np.flatnonzero(~np.isin(happened, (0, 1)))
    if len(wrong):
        raise UsageError(
            f"Expected the event of each patient to be 1, it happened, or 0, it had not until then, but "
            f"{names[wrong[0]]} has {happened[wrong[0]]:g}{_more(wrong)}. Correct it, or leave the patient out."
        )
    for split in dict.fromkeys(splits):
        inside = np.array([other == split for other in splits])
        count = int(happened[inside].sum())
        if count < FEWEST_EVENTS:
            raise UsageError(
                f"Expected at least {FEWEST_EVENTS} events in split {split!r}, but it has {count} among "
                f"{int(inside.sum()):,} patients. Choose other splits, or give none to have them made."
            )
    return Outcomes(when, happened.astype(bool))


def _more(wrong: NDArray[np.intp]) -> str:
    return f", and {len(wrong) - 1:,} more are wrong" if len(wrong) > 1 else ""
