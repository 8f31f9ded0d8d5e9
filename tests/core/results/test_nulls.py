from typing import Any

import pytest

from eva_core.results.nulls import not_beaten, nulls_line


def results(value: float | None, interval: list[float] | None, higher: bool = True, mean: float | None = 0.6) -> Any:
    null = {"splits": {"test": {"metrics": {"m": {"mean": mean, "ci95": interval}}}}}
    main = {"metric": "m", "split": "test", "mean": value, "higher_is_better": higher}
    return {"main": main, "identity": {"model": "vit"}, "baselines": {"colour_stats": null, "vit": null}}


@pytest.mark.parametrize(
    ("value", "interval", "higher", "marked"),
    [
        (0.71, [0.5, 0.7], True, False),
        (0.7, [0.5, 0.7], True, True),
        (0.4, [0.5, 0.7], True, True),  # worse than a null is no better
        (0.4, [0.5, 0.7], False, False),
        (0.55, [0.5, 0.7], False, True),
        (0.9, [0.5, 0.7], False, True),
        (0.61, None, True, False),
        (0.6, None, True, True),
        (None, [0.5, 0.7], True, False),
    ],
)
def test_a_score_in_the_interval_of_a_null_is_named(value, interval, higher, marked):
    assert not_beaten(results(value, interval, higher)) == (["colour_stats"] if marked else [])


def test_a_null_without_a_score_says_nothing():
    assert not_beaten(results(0.5, None, mean=None)) == []


def test_the_line_names_all():
    assert nulls_line(["colour_stats", "metadata"]).startswith("no better than the nulls colour_stats, metadata:")
