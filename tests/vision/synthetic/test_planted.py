import numpy as np
import pytest
from scipy.stats import spearmanr

from eva_vision.synthetic.planted import planted_patients, site_stain


def test_every_outcome_depends_on_the_tissue():
    patients = planted_patients(200, 0.0, 0)
    shares = np.array([p.share for p in patients])
    assert {p.label for p in patients if p.share > 0.5} == {1}
    assert {p.label for p in patients if p.share < 0.5} == {0}
    assert spearmanr(shares, [p.value for p in patients])[0] > 0.9
    happened = [(p.share, p.time) for p in patients if p.event]
    assert spearmanr(*zip(*happened, strict=True))[0] < -0.4
    assert 0.5 < np.mean([p.event for p in patients]) < 0.9
    assert np.isclose(sum(patients[0].shares), 1)


@pytest.mark.parametrize(("confounded", "low", "high"), [(0.0, 0.35, 0.65), (1.0, 1.0, 1.0)])
def test_the_site_tells_the_label_as_much_as_asked(confounded: float, low: float, high: float):
    patients = planted_patients(200, confounded, 0)
    assert low <= np.mean([p.label == p.site for p in patients]) <= high


def test_the_tissue_is_the_same_however_it_is_confounded():
    free, bound = planted_patients(50, 0.0, 3), planted_patients(50, 1.0, 3)
    assert [(p.share, p.label, p.value, p.time) for p in free] == [(p.share, p.label, p.value, p.time) for p in bound]


def test_stains_differ_more_between_sites_than_within():
    stains = np.array([[site_stain(site, n).vectors for n in range(20)] for site in (0, 1)])  # (2, 20, 2, 3)
    hues = stains / np.linalg.norm(stains, axis=-1, keepdims=True)
    means = hues.mean(1)
    assert np.abs(means[0] - means[1]).max() > 0.05
    assert hues.std(1).max() < 1e-6
    assert 0.01 < stains.std(1).max() < 0.1
