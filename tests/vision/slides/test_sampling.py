import pytest

from eva_core.errors import UsageError
from eva_vision.slides.sampler import Sampling


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 0}, "size to be at least 1, but got 0"),
        ({"mpp": ()}, "mpp above 0"),
        ({"mpp": (0.25, -1)}, "mpp above 0"),
        ({"mpp_weights": (1, 2)}, "4 numbers"),
        ({"mpp_weights": (0, 0, 0, 0)}, "4 numbers"),
        ({"mpp_range": (2.0, 0.25)}, "the lesser first"),
        ({"mpp_range": (0, 1)}, "above 0"),
        ({"slides": "column"}, "a table where slides is column"),
        ({"table": "x.csv"}, "a table where slides is column"),
        ({"tissue": 0}, "tissue above 0"),
        ({"tissue": 1.5}, "tissue above 0"),
        ({"fraction": 0}, "fraction above 0"),
        ({"distinct": 0}, "distinct to be at least 1"),
        ({"per_window": 0}, "per_window to be at least 1"),
        ({"per_window": 2, "window": 100}, "window to be at least size"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        Sampling(**wrong)
