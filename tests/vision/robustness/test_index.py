import numpy as np
import pandas as pd
import pytest
from croma import RI, MaRI

from eva_vision.robustness.index import Evidence, Scope, best_k, class_accuracy, counted, site_accuracy, weighed
from eva_vision.robustness.typed_neighbours import Labels, neighbours
from tests.vision.robustness.example import manifest, planted

KS = (1, 3, 5, 10, 20)
pytestmark = pytest.mark.filterwarnings("ignore:.*RI/MaRI support:RuntimeWarning")


def scope(x: np.ndarray, labels: Labels, k: int = max(KS)) -> Scope:
    return Scope(np.arange(len(x)), labels, neighbours(x, labels, k, 5))


@pytest.mark.parametrize(("seed", "pull"), [(0, 1.0), (1, 0.2), (2, 3.0)])
def test_as_croma_has_them(seed: int, pull: float):
    x, labels = planted(seed, pull=pull)
    common = {"confounder_column": "center", "k_candidates": KS}
    scopes = [scope(x, labels)]
    k = best_k(scopes, KS)
    ri = RI.compute(x.astype(np.float64), manifest(labels), **common)
    assert (k, counted(scopes, k).support) == (ri.k, pytest.approx(ri.support))
    assert counted(scopes, k).value == pytest.approx(ri.value, abs=1e-6)
    mari = MaRI.compute(x.astype(np.float64), manifest(labels), **common)
    evidence, tau = weighed(scopes, k)
    assert evidence.value == pytest.approx(mari.value, abs=1e-6)
    assert tau == pytest.approx(mari.tau, abs=1e-6)


def test_parts_by_themselves_as_croma_has_them():
    x, labels = planted(3, classes=3, sites=3)
    pairs = [(0, 1), (1, 2)]
    rows = [np.flatnonzero(np.isin(labels.classes, p) & np.isin(labels.sites, p)) for p in pairs]
    frames = [manifest(labels).iloc[r].assign(subset=f"s{i}") for i, r in enumerate(rows)]
    both = pd.concat(frames, ignore_index=True)
    stacked = np.concatenate([x[r] for r in rows]).astype(np.float64)
    expected = RI.compute(stacked, both, confounder_column="center", k_candidates=[7], evaluation_design="paired_2x2")
    scopes = [Scope(r, labels.of(r), neighbours(x[r], labels.of(r), 7, 5)) for r in rows]
    assert counted(scopes, 7).value == pytest.approx(expected.value, abs=1e-6)


def test_plain_counting():
    x, labels = planted(4, n=90)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    so = os = 0
    for i in range(len(x)):
        others = np.flatnonzero(labels.groups != labels.groups[i])
        for j in others[np.argsort(1 - unit[others] @ unit[i])][:7]:
            so += labels.classes[i] == labels.classes[j] and labels.sites[i] != labels.sites[j]
            os += labels.classes[i] != labels.classes[j] and labels.sites[i] == labels.sites[j]
    assert counted([scope(x, labels)], 7).value == so / (so + os)


def test_weights_are_repetitions():
    evidence = Evidence(np.array([3.0, 0.0, 1.0]), np.array([0.0, 2.0, 1.0]))
    found = evidence.measure("ri")(np.array([[1.0, 0, 2], [0, 0, 0]]))["ri"]
    assert found == pytest.approx([5 / 7, np.nan], nan_ok=True)
    assert evidence.support == 1


def test_no_typed_neighbour_is_no_value():
    labels = Labels(np.zeros(4, np.int64), np.zeros(4, np.int64), np.arange(4))
    scopes = [scope(planted(n=4)[0], labels)]
    assert counted(scopes, 3).value is None
    assert weighed(scopes, 3)[1] is None


def test_half_of_the_neighbours_are_copies():
    labels = Labels(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.arange(4))
    evidence, tau = weighed([scope(np.ones((4, 3), np.float32), labels)], 3)
    assert (evidence.value, tau) == (0.5, None)


def test_classes_that_are_told_by_neighbours_and_sites_that_are_not():
    x, labels = planted(pull=0)
    assert class_accuracy(scope(x, labels), 5) > 0.9
    assert site_accuracy(scope(x, labels), 5) < 0.6
