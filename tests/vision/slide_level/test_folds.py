import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_core.errors import UsageError
from eva_core.job import Job
from eva_vision.slide_level.folds import divide, fold_numbers
from tests.vision.slide_level.bags.test_bag_store import opened


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=10, max_size=80), st.integers(2, 5))
def test_whole_groups_go_to_folds(rows: list[tuple[int, int]], folds: int):
    strata, groups = np.array(rows).T
    if len(set(groups.tolist())) < folds:
        with pytest.raises(UsageError, match="at least"):
            fold_numbers(strata, groups, folds, 0)
        return
    of = fold_numbers(strata, groups, folds, 0)
    assert set(of.tolist()) == set(range(folds))
    assert all(len({*of[groups == g].tolist()}) == 1 for g in groups)


def test_strata_are_spread():
    strata = np.repeat([0, 1], [40, 5])
    of = fold_numbers(strata, np.arange(45), 5, 3)
    assert np.bincount(of[strata == 1]).tolist() == [1] * 5
    assert np.bincount(of[strata == 0]).tolist() == [8] * 5
    assert not np.array_equal(of, fold_numbers(strata, np.arange(45), 5, 4))


def test_without_splits_patients_are_cross_validated(job: Job):
    store, section = opened(job), job.resolved.section
    plan, folds = divide(store, job.protocol, section, job.dataset.card, store.targets, True, False)
    assert (plan.main, plan.reported) == ("cv", ("cv",))
    assert "3 folds by patient" in plan.selection
    scored = np.concatenate([fold.scored["cv"] for fold in folds])
    assert sorted(scored.tolist()) == [*range(10)]
    for fold in folds:
        parts = [set(part.tolist()) for part in (fold.train, fold.select, fold.scored["cv"])]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts)) == 10


def test_sites_can_be_held_out_one_by_one(job: Job):
    store = opened(job)
    section = job.resolved.section
    plan, folds = divide(store, job.protocol, section, job.dataset.card, store.targets, True, True)
    assert "2 folds, each a site" in plan.selection
    for fold in folds:
        assert not set(store.sites[fold.train]) & set(store.sites[fold.scored["cv"]])
