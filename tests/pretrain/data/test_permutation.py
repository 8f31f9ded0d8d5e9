"""A permutation that is computed place by place."""

import numpy as np
import pytest

from eva_pretrain.data.permutation import permuted


@pytest.mark.parametrize("n", [1, 2, 3, 17, 1024, 5000])
def test_every_number_comes_once(n):
    whole = permuted(np.arange(n), n, (3, 1))
    assert sorted(whole.tolist()) == list(range(n))
    assert permuted(np.array([n - 1]), n, (3, 1))[0] == whole[-1]  # whichever are asked for together


def test_keys_give_orders_that_look_random():
    n = 20_000
    orders = [permuted(np.arange(n), n, key) for key in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        assert abs(np.corrcoef(np.arange(n), order)[0, 1]) < 5 / n**0.5
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 5 / n**0.5
    assert (orders[0] == orders[1]).mean() < 0.01
    assert (orders[0] == orders[2]).mean() < 0.01
