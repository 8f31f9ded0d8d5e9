import numpy as np
import pytest

from eva_core.holdout import hold_out, near_duplicates


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
