from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import UsageError
from eva_pretrain.optimisation.schedules import Curve, cosine, linear_warmup, scaled_lr

PARITY = Path(__file__).parents[1] / "parity"
DINO, DINOV2 = np.load(PARITY / "dino_parity.npz"), np.load(PARITY / "dinov2_parity.npz")


def same(curve: Curve, expected: np.ndarray, steps: np.ndarray | None = None) -> None:
    steps = np.arange(len(expected)) if steps is None else steps
    assert len(expected)
    np.testing.assert_allclose([curve(int(step)) for step in steps], expected, rtol=1e-12, atol=1e-18)


def test_dino() -> None:
    """20 epochs of 25 steps at a batch of 512."""
    same(cosine(scaled_lr(5e-4, 512, "linear"), 1e-6, 500, warmup=100), DINO["sched_lr"])
    same(cosine(0.04, 0.4, 500), DINO["sched_wd"])
    same(cosine(0.996, 1, 500), DINO["sched_momentum"])
    same(linear_warmup(0.04, 0.07, 3), DINO["teacher_temp_schedule"])


def test_dinov2() -> None:
    same(cosine(1e-3, 1e-6, 500, warmup=50), DINOV2["sched_lr"])
    same(cosine(0.04, 0.4, 500), DINOV2["sched_wd"])
    same(cosine(0.992, 1, 500), DINOV2["sched_momentum"])
    same(linear_warmup(0.04, 0.07, 150), DINOV2["sched_teacher_temp"])
    same(cosine(1.0, 0.1, 100, warmup=20, start=0.01, frozen=10), DINOV2["sched_freeze"])
    lr = cosine(1e-3, 1e-6, 500, warmup=50)
    same(lambda step: 0.0 if step < 5 else lr(step), DINOV2["sched_last_layer_lr"])


def test_dinov2_at_full_length_and_past_the_end() -> None:
    same(cosine(1e-3, 1e-6, 125_000, warmup=12_500), DINOV2["sched_full_lr"], DINOV2["sched_full_idx"])


def test_learning_rate_rules() -> None:
    for base, batch, expected in DINOV2["lr_rule"]:
        assert scaled_lr(base, int(batch), "sqrt") == pytest.approx(expected, rel=1e-12)
    assert scaled_lr(5e-4, 512, "linear") == pytest.approx(1e-3)


def test_short_schedules() -> None:
    assert [cosine(1.0, 0.5, 2, warmup=2)(step) for step in range(4)] == [0, 1, 0.5, 0.5]
    assert [cosine(1.0, 0.5, 1)(step) for step in range(2)] == [1, 0.5]
    assert [cosine(1.0, 0.5, 2, warmup=1, start=0.1)(step) for step in range(2)] == [0.1, 1]
    assert linear_warmup(0.04, 0.07, 0)(0) == 0.07
    assert [linear_warmup(0.04, 0.07, 1)(step) for step in range(2)] == [0.04, 0.07]


def test_a_warm_up_longer_than_the_run_is_an_error() -> None:
    with pytest.raises(UsageError, match="to fit into 10 steps, but got 9 and 2"):
        cosine(1.0, 0.0, 10, warmup=9, frozen=2)
