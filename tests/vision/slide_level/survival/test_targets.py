import numpy as np
import pytest

from eva_core.errors import UsageError
from eva_vision.slide_level.survival.targets import Outcomes, outcomes_of

NAMES = [f"patient {n}" for n in range(6)]
SPLITS = ["train"] * 3 + ["val"] * 3
TIMES = [1.0, 0.0, 3.0, 2.0, 5.0, 4.0]
EVENTS = [1, 1, 0, 1, 0, 1]


def test_times_and_events_become_outcomes():
    found = outcomes_of(TIMES, EVENTS, NAMES, SPLITS)
    assert found.times.tolist() == TIMES
    assert found.events.tolist() == [True, True, False, True, False, True]
    assert found.stratum.tolist() == [0] * 6


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_a_time_that_is_none_is_named(wrong: float):
    with pytest.raises(UsageError, match=rf"patient 3 has {wrong:g}, and 1 more are wrong\. Correct it"):
        outcomes_of([*TIMES[:3], wrong, wrong, 1], EVENTS, NAMES, SPLITS)


@pytest.mark.parametrize("wrong", [2, -1, 0.5, np.nan])
def test_an_event_that_is_neither_is_named(wrong: float):
    with pytest.raises(UsageError, match=rf"patient 2 has {wrong:g}\. Correct it"):
        outcomes_of(TIMES, [1, 1, wrong, 1, 0, 1], NAMES, SPLITS)


def test_a_split_needs_two_events():
    with pytest.raises(UsageError, match=r"at least 2 events in split 'val', but it has 1 among 3 patients"):
        outcomes_of(TIMES, [1, 1, 0, 1, 0, 0], NAMES, SPLITS)


def test_strata_are_numbered_and_kept_when_doubled():
    twice = Outcomes(np.arange(3.0), np.ones(3, bool), np.array([4, 2, 4])).twice()
    assert twice.stratum.tolist() == [1, 0, 1] * 2
    assert twice.times.tolist() == [0, 1, 2] * 2
