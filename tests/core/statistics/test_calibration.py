"""The interval of a calibration error, against the error that is known of a simulated model."""

import numpy as np
import pytest

from eva_core.classification.summary import split_record
from eva_core.statistics.calibration import calibration_interval

CLASSES = ["benign", "tumour"]
N = 300


def model(rng: np.random.Generator, n: int, heat: float, groups: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n,) of the second class whose logit is `heat` times the true one, and targets (n,)."""
    logits = rng.normal(0, 2, n)
    moved = 0 if groups is None else rng.normal(0, 0.7, groups).repeat(n // groups)  # patients differ
    return 1 / (1 + np.exp(-logits * heat)), rng.random(n) < 1 / (1 + np.exp(-logits - moved))


def true_error(heat: float, groups: int | None) -> float:
    """Of 15 bins, on so many images that noise has no part in it."""
    positive, targets = model(np.random.default_rng(1), 600_000, heat, None if groups is None else 20_000)
    confidence = np.maximum(positive, 1 - positive)
    gap = ((positive > 0.5) == targets) - confidence
    return float(np.abs(np.bincount((confidence * 15).astype(int), gap)).sum() / len(gap))


@pytest.mark.parametrize(("heat", "groups"), [(1, None), (1.3, None), (3, None), (1.5, 30)])
def test_covers_the_true_error_about_95_times_in_100(heat, groups):
    """Percentiles cover 0.00, 0.26, 0.88 and 0.76 of these, ours 0.96, 0.94, 0.93 and 0.91 (300 trials)."""
    rng, expected, covered = np.random.default_rng(0), true_error(heat, groups), 0
    for _ in range(60):
        positive, targets = model(rng, N, heat, groups)
        gaps = np.zeros((N, 16))
        confidence = np.maximum(positive, 1 - positive)
        gaps[np.arange(N), (confidence * 15).astype(int)] = ((positive > 0.5) == targets) - confidence
        units = N if groups is None else groups
        sums = gaps.reshape(units, -1, 16).sum(axis=1)
        weights = rng.multinomial(units, np.full(units, 1 / units), size=300)
        found = calibration_interval(sums.sum(axis=0)[None] / N, weights @ sums / N, np.zeros(300, int))
        assert found is not None
        covered += found[0] <= expected + 5e-4 and expected <= found[1]
    assert 52 <= covered <= 60


def test_is_what_a_record_has():
    positive, targets = model(np.random.default_rng(0), N, 1, None)
    scores = np.stack([1 - positive, positive], -1)[None]
    record = split_record(scores, scores, targets.astype(int), CLASSES, None)[0]["metrics"]["ece"]
    assert record["mean"] > 0.03  # noise alone
    assert record["ci95"][0] == 0
    assert "t95" not in record
    groups = [str(i // 30) for i in range(N)]
    few = split_record(scores, scores, targets.astype(int), CLASSES, groups)[0]["metrics"]["ece"]
    assert few["t95"][0] == 0
    assert few["t95"][1] > record["mean"] - few["ci95"][1]


def test_runs_that_differ_widen_it():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (400, 4))
    seen = np.array([[0.1, 0, 0, 0], [0.2, 0, 0, 0]])
    one = calibration_interval(seen[:1], seen[:1] + noise, np.zeros(400, int))
    runs = np.arange(400) % 2
    both = calibration_interval(seen, seen[runs] + noise, runs)
    assert one is not None
    assert both is not None
    assert one[0] < 0.1 < one[1] < 0.15
    assert both[0] < 0.11
    assert both[1] > 0.18


def test_without_noise_it_is_what_was_seen():
    seen = np.array([[0.0, 0.25]])
    assert calibration_interval(seen, np.tile(seen, (50, 1)), np.zeros(50, int)) == pytest.approx(
        [0.25, 0.25], abs=2e-3
    )
    nothing = np.zeros((1, 2))
    assert calibration_interval(nothing, np.tile(nothing, (50, 1)), np.zeros(50, int)) == [0, 0]
    assert calibration_interval(seen, np.empty((0, 2)), np.empty(0, int)) is None
