import numpy as np
import pytest

from eva_core.evaluation.holdout import divide_single_groups, hold_out, near_duplicates


def test_groups_stay_whole_and_classes_keep_their_share():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 10)
    targets = rng.integers(0, 3, 600)
    held = hold_out(targets, groups, 0.2, seed=0)
    assert all(held[groups == g].all() or not held[groups == g].any() for g in range(60))
    for c in range(3):
        assert held[targets == c].mean() == pytest.approx(0.2, abs=0.04)
    assert (held == hold_out(targets, groups, 0.2, seed=0)).all()
    assert (held != hold_out(targets, groups, 0.2, seed=1)).any()


def test_single_images_are_stratified_exactly():
    targets = np.repeat([0, 1], [50, 100])
    held = hold_out(targets, np.arange(150), 0.2, seed=3)
    assert held[:50].sum() == 10
    assert held[50:].sum() == 20


@pytest.mark.parametrize(("classes", "images"), [(40, 2), (7, 3), (2, 2)])
def test_a_few_images_of_many_classes_are_divided(classes, images):
    targets = np.repeat(np.arange(classes), images)
    held = hold_out(targets, np.arange(len(targets)), 0.2, seed=0)
    assert np.bincount(targets[held], minlength=classes).tolist() == [1] * classes


@pytest.mark.parametrize("seed", range(20))
def test_each_class_of_several_groups_is_on_both_sides(seed):
    rng = np.random.default_rng(seed)
    patients = [[0] * 30, [0] * 8 + [1], [0] * 9, [0] * 7 + [1] * 2, [0] * 12 + [2] * 9, [2, 2], [0] * 5, [3, 0], [3]]
    order = rng.permutation(len(patients))
    targets = np.concatenate([patients[p] for p in order])
    groups = np.repeat(order, [len(patients[p]) for p in order])
    held = hold_out(targets, groups, 0.2, seed)
    assert all(held[groups == g].all() or not held[groups == g].any() for g in order)
    assert set(targets[held]) == set(targets[~held]) == {0, 1, 2, 3}


def test_classes_that_cannot_all_be_on_both_sides_keep_their_groups_whole():
    groups, targets = np.repeat(["p", "q", "r"], 2), np.array([0, 1, 1, 2, 2, 0])
    held = hold_out(targets, groups, 0.2, seed=0)
    assert all(held[groups == g].all() or not held[groups == g].any() for g in "pqr")
    assert not held.all()


def test_a_class_of_one_group_is_divided_and_the_others_left_alone():
    targets = np.repeat([0, 1, 2], [20, 10, 1])
    groups = np.concatenate([np.repeat(np.arange(5), 4), np.full(10, 7), [8]])
    held = hold_out(targets, groups, 0.2, seed=0)
    before = held.copy()
    assert divide_single_groups(held, targets, groups, 0.2) == [1]
    assert held[20:30].sum() == 2
    assert (held[:20] == before[:20]).all()
    assert not held[30]


def test_near_duplicates_share_a_cluster_and_others_do_not():
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 255, (40, 64)).astype(np.float32)
    brighter = base[:10] * 0.8 + 20 + rng.normal(0, 1, (10, 64)).astype(np.float32)
    cluster = near_duplicates(np.concatenate([base, brighter]))
    assert (cluster[40:] == cluster[:10]).all()
    assert len(np.unique(cluster)) == 40


def test_flat_images_do_not_break_clustering():
    assert len(near_duplicates(np.full((5, 64), 240, np.float32))) == 5


def test_blank_images_are_alike_and_a_chain_is_one_cluster():
    rng = np.random.default_rng(0)
    blank = np.full((3, 64), 240, np.float32)
    start, end = rng.normal(0, 1, (2, 64))
    chain = np.stack([np.cos(a) * start + np.sin(a) * end for a in np.linspace(0, np.pi / 2, 30)]).astype(np.float32)
    cluster = near_duplicates(np.concatenate([blank, rng.permutation(chain)]))
    assert len(set(cluster[:3])) == 1
    assert len(set(cluster[3:])) == 1  # its ends are nothing like each other
    assert cluster[0] != cluster[3]
