from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from eva_core.curves.shares import NOT_DRAWN, SHARES, Train, drawing_order, drawn, restricted, train_of
from eva_core.errors import UsageError


def train(targets, groups) -> Train:
    groups = np.array([str(group) for group in groups], object)
    return Train(np.arange(len(targets)), np.array(targets), groups, grouped=True)


@pytest.fixture
def patients() -> Train:
    """Two hundred patients with 1 to 9 samples each; a tenth of the samples are of class 2, which few patients have."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), rng.integers(1, 10, 200))
    targets = rng.integers(0, 2, len(groups))
    targets[groups < 20] = 2
    return train(targets, groups)


def store(splits, groups, targets, readable=None):
    n = len(splits)
    readable = np.ones(n, bool) if readable is None else np.array(readable)
    splits = np.array(splits, object)
    made = SimpleNamespace(
        ids=np.array([f"s{i}" for i in range(n)], object),
        groups=np.array(groups, object),
        targets=np.array(targets),
        splits=splits,
        readable=readable,
    )
    made.rows = lambda split: np.flatnonzero((splits == split) & readable)
    return made


def test_smaller_shares_lie_within_larger_ones_and_patients_are_whole(patients):
    for draw in range(3):
        parts = drawn(patients, SHARES, 0, draw)
        for smaller, larger in pairwise(parts):
            assert (smaller <= larger).all()
        for part in parts:
            assert set(patients.groups[part]).isdisjoint(patients.groups[~part])
        assert parts[-1].all()


def test_shares_are_as_large_as_asked_with_the_classes_of_the_whole(patients):
    for share, part in zip(SHARES, drawn(patients, SHARES, 0, 0), strict=True):
        assert set(patients.targets[part]) == {0, 1, 2}
        if share >= 0.05:
            assert part.mean() == pytest.approx(share, abs=9 / len(part))  # no more than a patient off
            assert (patients.targets[part] == 2).mean() == pytest.approx((patients.targets == 2).mean(), abs=0.05)


def test_draws_differ_and_depend_on_names_alone(patients):
    one, other = (drawn(patients, [0.2], 0, draw)[0] for draw in (0, 1))
    assert (one != other).any()
    assert (drawn(patients, [0.2], 1, 0)[0] != one).any()
    back = Train(patients.rows, patients.targets[::-1], patients.groups[::-1], grouped=True)
    assert (drawn(back, [0.2], 0, 0)[0] == one[::-1]).all()


def test_every_group_is_drawn_about_as_often(patients):
    often = np.mean([drawn(patients, [0.3], seed, 0)[0] for seed in range(200)], axis=0)
    common = patients.targets != 2
    assert often[common].mean() == pytest.approx(0.3, abs=0.03)
    assert often[common].std() < 0.06


def test_a_small_share_has_each_class_though_it_is_larger_then():
    groups = [*range(98), "all of class 1", "all of class 1"]
    part = drawn(train([0] * 98 + [1, 1], groups), [0.01], 0, 0)[0]
    assert part.sum() == 3
    assert part[-2:].all()


def test_one_patient_is_every_share():
    assert all(part.all() for part in drawn(train([0, 1, 1], ["p", "p", "p"]), [0.01, 1.0], 0, 0))


def test_the_order_covers_classes_first():
    counts = np.array([[5, 0, 0], [5, 1, 0], [5, 0, 0], [0, 0, 2]])
    order, least = drawing_order(counts, np.random.default_rng(0))
    assert sorted(order) == [0, 1, 2, 3]
    assert (counts[order[:least]].sum(0) > 0).all()
    assert least <= 3


def test_train_is_read_from_a_store():
    made = store(["train", "test", "train", "train"], ["p", "q", "", "p"], [0, 1, 1, 0], [True, True, True, False])
    part = train_of(made, "mine")
    assert part.rows.tolist() == [0, 2]
    assert part.groups.tolist() == ["p", "s2"]
    assert part.grouped
    assert part.counts(np.array([True, True])) == (2, 2)
    alone = train_of(store(["train"], [""], [[0.5, 1.0]]), "mine")
    assert alone.targets.tolist() == [0]  # values are no classes
    assert alone.counts(np.array([True])) == (1, None)
    with pytest.raises(UsageError, match="train split in dataset 'mine'"):
        train_of(store(["cv"], ["p"], [0]), "mine")


def test_a_restricted_store_has_less_of_train_alone():
    made = store(["train", "test", "train"], ["p", "q", "r"], [0, 1, 1])
    part = restricted(made, train_of(made, "mine"), np.array([False, True]))
    assert part.splits.tolist() == [NOT_DRAWN, "test", "train"]
    assert made.splits.tolist() == ["train", "test", "train"]
