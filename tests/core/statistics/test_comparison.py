import numpy as np
import pytest

from eva_core.statistics.comparison import holm, paired_means, paired_measures
from tests.core.scored import dice, mean_of_runs


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
    assert holm([np.nan, 0.04, np.nan, 0.01]) == pytest.approx([np.nan, 0.04, np.nan, 0.02], nan_ok=True)


def few_patients(rng: np.random.Generator, runs: int, patients: int = 6, truth: float = 0.1) -> list[np.ndarray]:
    """Dice of two models on six patients of five images, (R, N): their difference varies by patient and by run."""
    by_patient = rng.normal(truth, 0.05, patients).repeat(5)
    by_run = rng.normal(0, 0.05 if runs > 1 else 0, (2, runs, 1))
    base = rng.normal(0.5, 0.1, patients * 5)
    noise = rng.normal(0, 0.02, (2, runs, patients * 5))
    return [base + by_patient + by_run[0] + noise[0], base + by_run[1] + noise[1]]


@pytest.mark.parametrize(("runs", "patients"), [(1, 6), (3, 6), (3, 30)])
def test_the_t_interval_of_few_patients_or_runs_covers_where_percentiles_do_not(runs, patients):
    rng, groups, covered = np.random.default_rng(runs), [str(i // 5) for i in range(5 * patients)], np.zeros(2)
    for _ in range(120):
        found = paired_means(*few_patients(rng, runs, patients), groups, draws=100)
        for n, bounds in enumerate((found.ci95, found.t95)):
            assert bounds is not None
            covered[n] += bounds[0] <= 0.1 <= bounds[1]
    percentile, t = covered / 120
    assert 0.9 <= t <= 1
    assert percentile < t


def test_the_interval_of_means_is_that_of_resampled_copies():
    a, b = dice(2, 0.1), dice(3)
    values = []
    one_of_two = np.random.default_rng([0, 2, 2]).integers(2, size=60)  # of R runs R - 1 are drawn
    for draw, run in enumerate(one_of_two):
        drawn = np.random.default_rng([0, draw]).integers(8, size=8)
        images = np.concatenate([np.flatnonzero(np.arange(40) % 8 == group) for group in drawn])
        values.append(np.nanmean(a[run, images]) - np.nanmean(b[run, images]))
    found = paired_means(a, b, [str(i % 8) for i in range(40)], draws=60)
    assert found.ci95 == pytest.approx(list(np.quantile(values, [0.025, 0.975])))
    assert (found.n_groups, found.grouped, found.mcnemar_p) == (8, True, None)


def test_measures_compare_as_the_means_that_they_are():
    a, b = (dice(n, undefined=0) for n in (2, 3))
    groups = [str(i % 8) for i in range(40)]
    means = paired_means(a, b, groups)
    of_runs = (
        [
            lambda weights, run=run: {"other": np.zeros(len(weights)), "dice": weights @ run / weights.sum(1)}
            for run in of
        ]
        for of in (a, b)
    )
    found = paired_measures(*of_runs, "dice", groups, (means.difference, means.p))
    assert found.ci95 == pytest.approx(means.ci95)
    assert found.t95 == pytest.approx(means.t95)
    assert (found.n_groups, found.grouped, found.few) == (8, True, True)


def test_means_of_a_model_and_itself():
    scores = dice(4)
    found = paired_means(scores, scores, None)
    assert (found.difference, found.ci95, found.p) == (0, [0, 0], 1)


def test_finding_something_where_there_is_nothing_counts():
    """Without a Dice on the empty half for one model, and 0 for the other."""
    honest, eager = dice(5, n=200, undefined=0), dice(5, n=200, undefined=0)
    honest[:, 100:], eager[:, 100:] = np.nan, 0
    found = paired_means(honest, eager, None)
    assert found.difference == pytest.approx(mean_of_runs(honest) - mean_of_runs(eager))
    assert found.p < 0.01


def test_means_that_are_undefined_are_no_evidence():
    a = dice(8)
    with np.errstate(all="raise", invalid="warn"):
        found = paired_means(a, np.full_like(a, np.nan), None, draws=50)
    assert np.isnan(found.difference)
    assert (found.p, found.ci95) == (None, None)
    assert paired_means(a, dice(9), ["p"] * 40, draws=50).p is None


def test_means_of_other_images():
    with pytest.raises(ValueError, match=r"Expected scores \(R, N\) of both, but got \(2, 40\) and \(2, 39\)"):
        paired_means(dice(0), dice(0)[:, 1:], None)
