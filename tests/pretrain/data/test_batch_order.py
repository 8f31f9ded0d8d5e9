"""Every sample is read once, by one rank, in a batch that does not depend on who reads it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_core.errors import UsageError
from eva_pretrain.data.batch_order import LANES, Order


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 6))
def test_ranks_together_take_every_sample_once(batch_size, ranks, batches):
    numbers = [Order(batch_size, rank, ranks).numbers(b) for b in range(batches) for rank in range(ranks)]
    assert sorted(np.concatenate(numbers).tolist()) == list(range(batch_size * ranks * batches))


@given(st.integers(1, 4), st.integers(0, 50))
def test_a_step_of_all_ranks_has_the_same_samples_whatever_their_number(ranks, batch):
    together = np.concatenate([Order(12 // ranks, rank, ranks).numbers(batch) for rank in range(ranks)])
    assert sorted(together.tolist()) == Order(12).numbers(batch).tolist()


@given(st.integers(1, 3), st.integers(0, 40), st.sampled_from([1, 3]))
def test_ranks_that_became_accumulated_batches_have_the_same_batches(batch_size, step, per_window):
    eight = [Order(batch_size, rank, 8, per_window).numbers(step).tolist() for rank in range(8)]
    orders = [Order(batch_size, rank, 4, per_window, accumulate=2) for rank in range(4)]
    four = [order.numbers(2 * step + turn).tolist() for turn in range(2) for order in orders]
    assert four == eight
    assert len({orders[0].lane(2 * step + turn) for turn in range(2)}) == 2


@given(st.integers(1, 7), st.integers(1, 3), st.integers(2, 6))
def test_regions_are_used_up_one_patch_a_batch_in_one_lane(batch_size, ranks, per_window):
    batches = range(LANES * per_window * 3)
    seen: Counter[int] = Counter()
    where: dict[int, set[tuple[int, int, int]]] = {}
    for rank in range(ranks):
        for batch in batches:
            numbers = Order(batch_size, rank, ranks, per_window).numbers(batch)
            seen.update(numbers.tolist())
            regions = numbers // per_window
            assert len(set(regions.tolist())) == batch_size  # no two patches of one region in a batch
            for place, region in enumerate(regions.tolist()):
                where.setdefault(region, set()).add((rank, batch % LANES, place))
    assert set(seen.values()) == {1}
    assert all(len(places) == 1 for places in where.values())


def test_every_batch_begins_about_as_many_regions():
    order = Order(64, per_window=4)
    fresh = [int((order.numbers(batch) % 4 == 0).sum()) for batch in range(8 * LANES)]
    assert set(fresh) == {16}


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"batch_size": 0}, "batch_size"), ({"batch_size": 1, "rank": 2, "ranks": 2}, "rank below 2")],
)
def test_numbers_that_make_no_sense(settings, what):
    with pytest.raises(UsageError, match=what):
        Order(**settings)


def test_lanes_need_workers_that_divide_them():
    Order(8).check(3)
    Order(8, per_window=4).check(8)
    with pytest.raises(UsageError, match=r"1, 2, 4, 8 or 16 workers .* got 3"):
        Order(8, per_window=4).check(3)
