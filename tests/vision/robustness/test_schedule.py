import numpy as np
import pytest
from scipy.stats.contingency import association

from eva_vision.robustness.schedule import STEPS, cramers_v, groups_in_cells, usual
from eva_vision.robustness.typed_neighbours import Labels
from tests.vision.robustness.example import planted


@pytest.mark.parametrize("seed", range(3))
def test_cramers_v_as_scipy_has_it(seed: int):
    table = np.random.default_rng(seed).integers(1, 30, (3, 4))
    assert cramers_v(table) == pytest.approx(association(table, "cramer"))


@pytest.mark.parametrize(("classes", "sites"), [(2, 2), (3, 3), (4, 2), (2, 4)])
def test_from_no_correlation_to_one_site_a_class_with_the_same_totals(classes: int, sites: int):
    _, labels = planted(classes=classes, sites=sites)
    schedule = usual(labels)
    v = [cramers_v(counts) for counts in schedule.splits]
    assert (len(v), v[0], v[-1]) == (STEPS, 0, pytest.approx(1))
    assert (np.diff(v) > 0).all()
    assert len({tuple(counts.sum(0)) for counts in schedule.splits}) == 1
    assert len(schedule.sites) == min(classes, sites)


def test_classes_at_one_site_and_sites_without_a_class_take_no_part():
    _, labels = planted(classes=3, sites=4)
    keep = (labels.classes != 2) | (labels.sites == 0)
    keep &= (labels.classes != 1) | (labels.sites != 3)
    schedule = usual(labels.of(np.flatnonzero(keep)))
    assert schedule.classes.tolist() == [0, 1]
    assert set(schedule.sites) <= {0, 1, 2}


def test_too_little_is_no_schedule():
    _, labels = planted(sites=2, slides=1)
    assert usual(labels) is None
    few = planted(n=24, classes=2, sites=2, slides=2)[1]
    assert usual(few) is None
    one = Labels(labels.classes, labels.sites * 0, labels.groups)
    assert usual(one) is None


def test_groups_are_counted_once():
    assert groups_in_cells(Labels(np.array([0, 0, 1]), np.array([0, 0, 1]), np.array([5, 5, 5]))).tolist() == [
        [1, 0],
        [0, 1],
    ]
