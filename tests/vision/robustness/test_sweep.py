import croma
import numpy as np
import pytest
from croma.downstream import probe_sweep_over_test_sets

from eva_vision.datasets import pathorob_schedules
from eva_vision.robustness import sweep as module
from eva_vision.robustness.contracts import Schedule
from eva_vision.robustness.schedule import cramers_v, usual
from eva_vision.robustness.sweep import Divided, apd, divide, nipd, sweep
from eva_vision.robustness.typed_neighbours import Labels
from tests.vision.robustness.example import planted

SPLITS = np.array([[[20, 20], [20, 20]], [[30, 10], [10, 30]], [[40, 0], [0, 40]]])


def test_reductions_as_croma_has_them():
    accuracies = np.random.default_rng(0).uniform(0.6, 1, (3, 6))
    assert apd(accuracies)[0] == pytest.approx(croma.apd(accuracies), abs=1e-12)
    v = [cramers_v(counts) for counts in SPLITS]
    assert nipd(accuracies, SPLITS) == pytest.approx(croma.nipd(accuracies, v, 0.5), abs=1e-12)
    linear = np.array([[0.9], [0.7], [0.5]])
    assert nipd(linear, SPLITS) == pytest.approx(-0.5)
    assert nipd(np.full((3, 1), 0.5), SPLITS) is None
    assert nipd(accuracies[:2], SPLITS[:2]) is None  # does not reach 1
    assert apd(accuracies[:, :1])[1] is None


def test_the_interval_is_over_resamplings():
    low, high = apd(np.array([[1.0, 1.0, 1.0], [0.9, 0.8, 0.7]]))[1]
    assert (low, high) == (pytest.approx(-0.2 - 4.302653 * 0.1 / 3**0.5), pytest.approx(-0.2 + 4.302653 * 0.1 / 3**0.5))


def test_accuracies_as_croma_has_them_on_the_same_division(monkeypatch: pytest.MonkeyPatch):
    x, labels = planted(n=240, classes=2, sites=2, slides=6, dim=8, pull=3.0)
    order = np.lexsort((labels.groups, labels.classes, labels.sites))  # croma wants slides of 10 rows one after another
    x, labels = x[order], labels.of(order)
    rows = np.arange(240).reshape(2, 2, 60)  # of each site and class, six slides of which the last is held out
    taught = {(i, j): rows[i, j, :50] for i in range(2) for j in range(2)}
    monkeypatch.setattr(module, "divide", lambda *_: Divided(taught, rows[:, :, 50:].ravel()))
    ours = sweep(x, labels, Schedule(SPLITS, np.full((2, 2), 5), 4), 1)["in"]
    cells = [([(i, j, int(counts[i, j])) for i in range(2) for j in range(2)], 4) for counts in SPLITS]
    common = {"schedule": cells, "rows_per_slide": 10, "iterations": 1, "arrange_slides": lambda cells, _: cells}
    theirs = probe_sweep_over_test_sets(x, labels.sites, labels.classes, **common)["in_domain"]
    assert ours[-1] < ours[0] - 0.05
    assert ours == pytest.approx(theirs, abs=0.026)  # one of 40 images


@pytest.mark.usefixtures("few_cs")
def test_what_is_held_out_never_teaches_and_is_the_same_for_all_sets():
    x, labels = planted(n=400, classes=2, sites=2, slides=5)
    groups = np.where(labels.classes == 0, labels.groups, labels.groups - 1)  # half of the slides have both classes
    labels = Labels(labels.classes, labels.sites, groups)
    schedule = usual(labels)
    divided = divide(labels, schedule, np.random.default_rng(0))
    taught = np.concatenate(list(divided.taught.values()))
    assert set(labels.groups[taught]).isdisjoint(labels.groups[divided.held])
    for (site, label), rows in divided.taught.items():
        assert (labels.sites[rows] == site).all()
        assert (labels.classes[rows] == label).all()
        assert (np.diff(np.unique(labels.groups[rows], return_index=True)[1]) != 0).all()  # slide by slide
    found = sweep(x, labels, schedule, 2, others=(x[:9], labels.classes[:9]))
    assert {name: values.shape for name, values in found.items()} == {"in": (5, 2), "out": (5, 2)}
    assert np.array_equal(found["in"], sweep(x, labels, schedule, 2)["in"])


def test_too_few_groups_or_images_are_said():
    x, labels = planted(n=80, classes=2, sites=2, slides=2)
    with pytest.raises(ValueError, match="can be held out"):
        sweep(x, labels, Schedule(SPLITS, np.full((2, 2), 2), 4), 1)
    with pytest.raises(ValueError, match="Expected 25 images of a class at a site, but got 10"):
        sweep(x, labels, Schedule(SPLITS, np.full((2, 2), 1), 4), 1)


@pytest.mark.parametrize("name", ["camelyon", "tcga", "tolkach_esca"])
def test_published_sets_run_from_none_to_full_correlation(name: str):
    v = [cramers_v(counts) for counts in getattr(pathorob_schedules, name)().splits]
    assert (v[0], v[-1]) == (pytest.approx(0), pytest.approx(1))
    assert (np.diff(v) > 0).all()
