from itertools import product

import numpy as np
import pytest

from eva_core.classification.permutation import permutation
from eva_core.statistics.intervals import members
from tests.core.scored import (
    CLASSES,
    drawn,
    model,
)


@pytest.fixture
def targets() -> np.ndarray:
    return np.arange(120) % 3


@pytest.mark.parametrize("metric", ["balanced_accuracy", "accuracy", "f1"])
def test_few_groups_are_exchanged_in_all_ways(targets, metric):
    """Against every exchange written out by hand, metric and all."""
    from eva_core.classification.metrics import weighted

    a, b = model(drawn(0.8, 1, 3), targets), model(drawn(0.6, 1, 4), targets)
    groups = np.arange(120) // 20
    by_hand = []
    for swaps in product([False, True], repeat=6):
        swapped = np.array(swaps)[groups]
        mixed = [np.where(swapped[:, None], x, y) for x, y in ((b[0], a[0]), (a[0], b[0]))]
        first, second = (weighted(m, targets, CLASSES, np.ones((1, 120)))[metric][0] for m in mixed)
        by_hand.append(first - second)
    expected = np.mean(np.abs(by_hand) >= abs(by_hand[0]) - 1e-12)
    member, _ = members([str(g) for g in groups], 120)
    observed, p = permutation(a, b, targets, CLASSES, member, metric)
    assert observed == pytest.approx(by_hand[0], abs=1e-9)
    assert p == pytest.approx(expected)


def test_p_is_uniform_where_nothing_differs(targets):
    below = 0
    for trial in range(200):
        a, b = (model(drawn(0.7, 1, 2 * trial + i), targets) for i in range(2))
        below += permutation(a, b, targets, CLASSES, np.arange(120), "accuracy", draws=200)[1] <= 0.1
    assert 8 <= below <= 32  # 20 expected


def test_a_clear_difference_on_many_images_has_a_p_below_one_in_draws():
    targets = np.arange(3000) % 3
    a, b = model(drawn(0.9, 1, 0, 3000), targets), model(drawn(0.6, 1, 1, 3000), targets)
    assert permutation(a, b, targets, CLASSES, np.arange(3000), "balanced_accuracy")[1] < 1e-6
