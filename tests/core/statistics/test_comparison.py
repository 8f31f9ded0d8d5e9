from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from eva_core.classification.comparison import mcnemar, paired
from eva_core.classification.permutation import permutation
from eva_core.classification.predictions import Predictions, predictions_table, read_predictions
from eva_core.cli import main
from eva_core.commands.compare import compare
from eva_core.errors import UsageError
from eva_core.files.checksums import Damaged
from eva_core.results.record import PREDICTIONS, write_results
from eva_core.statistics.comparison import holm, paired_means
from eva_core.statistics.intervals import members
from eva_core.statistics.permutation import permutation_of_means
from eva_vision.segmentation.scoring.predictions import ImageDice, dice_table, read_dice

CLASSES = ["a", "b", "c"]


def model(right: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Right or wrong (R, N) -> scores (R, N, 3)."""
    guesses = np.where(right, targets, (targets + 1) % 3)
    return np.eye(3, dtype=np.float32)[guesses] * 0.7 + 0.1


@pytest.fixture
def targets() -> np.ndarray:
    return np.arange(120) % 3


def drawn(p: float, runs: int, seed: int, n: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).random((runs, n)) < p


def test_a_model_does_not_differ_from_itself(targets):
    scores = model(drawn(0.7, 3, 0), targets)
    found = paired(scores, scores, targets, CLASSES, None)
    assert found.difference == 0
    assert found.ci95 == [0, 0]
    assert found.p == 1
    assert found.mcnemar_p == 1


def test_swapping_the_models_changes_the_sign_and_nothing_else(targets):
    a, b = model(drawn(0.8, 2, 1), targets), model(drawn(0.6, 2, 2), targets)
    there, back = paired(a, b, targets, CLASSES, None), paired(b, a, targets, CLASSES, None)
    assert there.difference == pytest.approx(-back.difference)
    assert there.ci95 == pytest.approx([-back.ci95[1], -back.ci95[0]])
    assert there.p == back.p


@pytest.mark.parametrize("metric", ["balanced_accuracy", "accuracy", "f1"])
def test_few_groups_are_exchanged_in_all_ways(targets, metric):
    """Against every exchange written out by hand, metric and all."""
    from eva_core.classification.metrics import weighted

    a, b = model(drawn(0.8, 1, 3), targets), model(drawn(0.6, 1, 4), targets)
    groups = np.arange(120) // 20
    by_hand = []
    for swaps in product([False, True], repeat=6):
        swapped = np.array(swaps)[groups]
        mixed = [np.where(swapped[:, None], x, y) for x, y in ((b[0], a[0]), (a[0], b[0]))]
        first, second = (weighted(m, targets, CLASSES, np.ones((1, 120)))[metric][0] for m in mixed)
        by_hand.append(first - second)
    expected = np.mean(np.abs(by_hand) >= abs(by_hand[0]) - 1e-12)
    member, _ = members([str(g) for g in groups], 120)
    observed, p = permutation(a, b, targets, CLASSES, member, metric)
    assert observed == pytest.approx(by_hand[0], abs=1e-9)
    assert p == pytest.approx(expected)


def test_p_is_uniform_where_nothing_differs(targets):
    below = 0
    for trial in range(200):
        a, b = (model(drawn(0.7, 1, 2 * trial + i), targets) for i in range(2))
        below += permutation(a, b, targets, CLASSES, np.arange(120), "accuracy", draws=200)[1] <= 0.1
    assert 8 <= below <= 32  # 20 expected


def test_copies_of_images_are_no_evidence_once_groups_are_known(targets):
    right = [np.repeat(drawn(p, 1, seed, 12), 10, axis=1) for p, seed in ((0.75, 5), (0.6, 6))]
    a, b = (model(r, targets) for r in right)
    by_image = paired(a, b, targets, CLASSES, None)
    by_group = paired(a, b, targets, CLASSES, [str(i // 10) for i in range(120)])
    assert by_group.p > by_image.p
    assert by_group.grouped
    assert by_group.n_groups == 12
    assert by_group.mcnemar_p is None


def test_a_clear_difference_on_many_images_has_a_p_below_one_in_draws():
    targets = np.arange(3000) % 3
    a, b = model(drawn(0.9, 1, 0, 3000), targets), model(drawn(0.6, 1, 1, 3000), targets)
    assert permutation(a, b, targets, CLASSES, np.arange(3000), "balanced_accuracy")[1] < 1e-6


def test_one_group_says_nothing(targets):
    a, b = model(drawn(0.9, 1, 0), targets), model(drawn(0.5, 1, 1), targets)
    found = paired(a, b, targets, CLASSES, ["p"] * 120)
    assert found.p is None
    assert found.ci95 is None


def test_mcnemar_is_the_binomial_test_of_the_discordant(targets):
    a, b = model(drawn(0.8, 1, 7), targets)[0], model(drawn(0.6, 1, 8), targets)[0]
    right, other = a.argmax(1) == targets, b.argmax(1) == targets
    only_a, only_b = (right & ~other).sum(), (~right & other).sum()
    assert mcnemar(a, b, targets) == pytest.approx(binomtest(int(only_a), int(only_a + only_b)).pvalue)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
    assert holm([np.nan, 0.04, np.nan, 0.01]) == pytest.approx([np.nan, 0.04, np.nan, 0.02], nan_ok=True)


def test_draws_without_a_class_are_left_out_of_both():
    """Only one model finds the class that a single patient has: a draw without it would say that they are equal."""
    targets = np.repeat([0] * 7 + [1], 5)
    groups = [str(i // 5) for i in range(40)]
    good, blind = (np.eye(3)[guess][None] for guess in (targets, np.zeros(40, int)))
    for metric in ("balanced_accuracy", "f1", "auroc"):
        found = paired(good, blind, targets, CLASSES, groups, metric)
        assert found.ci95 is not None
        assert found.ci95[0] > 0.25
        assert found.left_out / 2000 == pytest.approx((7 / 8) ** 8, abs=0.03)
        assert found.few
        assert found.t95 is None
        assert not found.told_apart(0.001)  # one patient says nothing of others
    assert paired(good, blind, targets, CLASSES, groups, "accuracy").left_out == 0


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


def test_seeds_are_part_of_the_interval():
    """Many images, on which other seeds alone could give another difference: three seeds of each, far apart."""
    targets = np.arange(3000) % 3
    seeds = [np.concatenate([model(drawn(p, 1, n, 3000), targets) for n, p in enumerate(ps)]) for ps in SEEDS]
    found = paired(*seeds, targets, CLASSES, None, "accuracy")
    assert found.p < 0.01
    assert found.ci95[0] < 0 < found.ci95[1]
    assert not found.told_apart(found.p)
    one = paired(seeds[0][:1], seeds[1][:1], targets, CLASSES, None, "accuracy")
    assert one.told_apart(one.p)


SEEDS = ((0.9, 0.7, 0.75), (0.7, 0.8, 0.7))


def test_calibration_errors_are_compared_without_their_bias():
    """Both models are calibrated, but noise shows on the one that is unsure: percentiles call the other one better."""
    rng = np.random.default_rng(0)
    unsure = rng.uniform(0.05, 0.95, 400)
    targets = (rng.random(400) < unsure).astype(int)
    sure = np.where(targets == 1, 1.0, 0.0)
    scores = [np.stack([1 - p, p], -1)[None] for p in (sure, unsure)]
    found = paired(*scores, targets, CLASSES[:2], None, "ece", draws=300)
    assert found.difference < -0.02  # noise alone
    assert found.ci95 is not None
    assert found.ci95[0] == pytest.approx(found.difference, abs=0.03)
    assert found.ci95[1] > found.difference + 0.02


def test_shapes_that_do_not_fit(targets):
    with pytest.raises(ValueError, match="Expected scores"):
        paired(np.zeros((1, 5, 3)), np.zeros((1, 4, 3)), targets, CLASSES, None)


def test_different_numbers_of_runs_count_each_run_once():
    targets = np.arange(60) % 2
    rng = np.random.default_rng(0)
    a, b = (np.stack([1 - s, s], axis=-1) for s in (rng.random((3, 60)), rng.random((2, 60))))
    from eva_core.classification.metrics import weighted

    means = [np.mean([weighted(r, targets, CLASSES[:2], np.ones((1, 60)))["auroc"][0] for r in m]) for m in (a, b)]
    assert paired(a, b, targets, CLASSES[:2], None, "auroc", draws=50).difference == pytest.approx(means[0] - means[1])


def test_an_undefined_metric_is_no_evidence():
    targets = np.zeros(20, int)
    scores = np.random.default_rng(0).dirichlet([1, 1], (2, 1, 20))
    assert paired(scores[0], scores[1], targets, CLASSES[:2], None, "auroc", draws=50).p is None


def dice(seed: int, shift: float = 0.0, runs: int = 2, n: int = 40, undefined: float = 0.2) -> np.ndarray:
    """Scores of images (R, N), some undefined in some runs."""
    rng = np.random.default_rng(seed)
    scores = np.clip(rng.normal(0.6 + shift, 0.2, (runs, n)), 0, 1)
    scores[rng.random(scores.shape) < undefined] = np.nan
    return scores


def mean_of_runs(scores: np.ndarray) -> float:
    return float(np.nanmean(scores, axis=1).mean())


@pytest.mark.parametrize("undefined", [0.0, 0.3])
def test_means_of_few_groups_are_exchanged_in_all_ways(undefined):
    a, b = dice(0, 0.1, undefined=undefined), dice(1, undefined=undefined)
    groups = np.arange(40) // 7
    by_hand = []
    for swaps in product([False, True], repeat=6):
        swapped = np.array(swaps)[groups]
        by_hand.append(mean_of_runs(np.where(swapped, b, a)) - mean_of_runs(np.where(swapped, a, b)))
    observed, p = permutation_of_means(a, b, groups)
    assert observed == pytest.approx(mean_of_runs(a) - mean_of_runs(b))
    assert p == pytest.approx(np.mean(np.abs(by_hand) >= abs(by_hand[0]) - 1e-12))


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


def test_p_of_means_is_uniform_where_nothing_differs():
    below = sum(
        permutation_of_means(dice(2 * t, runs=1), dice(2 * t + 1, runs=1), np.arange(40), draws=200)[1] <= 0.1
        for t in range(200)
    )
    assert 8 <= below <= 32  # 20 expected


def test_a_clear_difference_of_means_has_a_p_below_one_in_draws():
    a, b = dice(6, 0.2, n=2000, undefined=0), dice(7, n=2000, undefined=0)
    a[:, :5] = b[:, :5] = np.nan
    assert permutation_of_means(a, b, np.arange(2000))[1] < 1e-6
    assert permutation_of_means(a[:1], b, np.arange(2000))[1] < 1e-6  # other numbers of runs


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


def result(folder: Path, model: str, metric: str, sha256: str = "0", dataset: str = "nuclei") -> None:
    identity = {"model": model, "head": "h", "protocol": "p", "dataset": dataset, "dataset_sha256": sha256}
    task = "segmentation" if metric.startswith(("dice", "iou")) else "classification"
    content = {"task": task, "identity": identity, "main": {"metric": metric, "split": "test"}}
    write_results(folder, content, [PREDICTIONS])


def segmentation(folder: Path, scores: np.ndarray, model: str, metric: str = "dice", **identity: str) -> Path:
    """A finished result with the Dice of images in groups of five."""
    folder.mkdir()
    ids = [f"image{i}" for i in range(scores.shape[1])]
    groups = [f"patient{i // 5}" for i in range(len(ids))]
    by_class = np.stack([scores, np.full_like(scores, np.nan)], axis=-1)
    parts = [ImageDice(split, ids, groups, scores, by_class) for split in ("val", "test")]
    pq.write_table(dice_table(parts, ["b", "a_b"], range(len(scores))), folder / PREDICTIONS)
    result(folder, model, metric, **identity)
    return folder


def classification(folder: Path) -> Path:
    folder.mkdir()
    part = Predictions("test", ["image0"], [""], np.zeros(1, int), np.full((1, 1, 2), 0.5))
    pq.write_table(predictions_table([part], ["a", "b"], [0]), folder / PREDICTIONS)
    result(folder, "m", "accuracy")
    return folder


def test_dice_is_read_as_it_was_written(tmp_path: Path):
    scores = dice(0)
    folder = segmentation(tmp_path / "a", scores, "m")
    columns = ["id", "split", "run", "group", "dice", "dice_b", "dice_a_b"]
    table = pq.read_table(folder / PREDICTIONS)
    assert table.column_names == columns
    assert table["dice"].null_count == 2 * np.isnan(scores).sum() > 0
    read = read_dice(folder, "test")
    classes = read.labels
    assert classes == ["b", "a_b"]
    assert np.array_equal(read.scores, scores, equal_nan=True)
    assert np.array_equal(read.by_class[..., 0], scores, equal_nan=True)
    assert np.isnan(read.by_class[..., 1]).all()
    assert (read.ids[7], read.groups[7]) == ("image7", "patient1")
    with pytest.raises(UsageError, match="Expected split 'train' in"):
        read_dice(folder, "train")
    (folder / PREDICTIONS).write_bytes(b"PAR1")
    with pytest.raises(Damaged, match=f"{PREDICTIONS} is damaged.*Run `eva fit`"):
        read_dice(folder, "test")


def test_scores_are_read_as_they_were_written(tmp_path: Path):
    scores = np.random.default_rng(0).dirichlet([1, 1], (3, 4)).astype(np.float32)
    part = Predictions("new", list("abcd"), ["", "p", "p", ""], np.array([0, 1, -1, 1]), scores)
    pq.write_table(predictions_table([part], ["x", "y"], range(3)), tmp_path / PREDICTIONS)
    result(tmp_path, "m", "accuracy")
    read = read_predictions(tmp_path, "new")
    classes = read.labels
    assert (classes, read.ids, read.groups) == (["x", "y"], ["a", "b", "c", "d"], ["", "p", "p", ""])
    assert read.targets.tolist() == [0, 1, -1, 1]
    assert np.array_equal(read.scores, scores)


def test_segmentations_are_compared_by_the_dice_of_images(tmp_path: Path):
    a, b = dice(0, 0.2), dice(1)
    folders = [segmentation(tmp_path / name, scores, name) for name, scores in (("good", a), ("bad", b))]
    (sentence,) = compare(folders)
    found = paired_means(a, b, [str(i // 5) for i in range(40)])
    assert sentence.startswith(f"good is better than bad on nuclei test: dice differs by {found.difference:.3f} (95 % ")
    assert sentence.endswith(f"permutation p = {found.p:.2g}; 8 patients or slides).")
    assert compare(folders[::-1])[0].startswith("good is better than bad")
    assert (
        f"fewer than 20 groups or runs, so rather the t-interval {found.t95[0]:+.3f} to {found.t95[1]:+.3f};"
        in sentence
    )
    assert len(compare([*folders, folders[0]], "dice", "val")) == 3
    pooled = segmentation(tmp_path / "pooled", b, "pooled", metric="dice_pooled")
    assert "dice differs by 0.000" in compare([folders[1], pooled])[0]


def test_what_cannot_be_compared_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    one = segmentation(tmp_path / "one", dice(0), "a")
    same = segmentation(tmp_path / "same", dice(1), "b")
    for argv, message in (
        ([one, same, "--metric", "iou"], "Expected --metric to be one of dice, but got iou."),
        ([one, same, "--metric", "accuracy"], "Expected --metric to be one of dice, but got accuracy."),
        ([one, classification(tmp_path / "c")], f"{one} is of segmentation and {tmp_path / 'c'} of classification"),
        ([tmp_path / "c", one], f"{tmp_path / 'c'} is of classification and {one} of segmentation"),
        ([tmp_path / "c", tmp_path / "c", "--metric", "dice"], "to be one of balanced_accuracy, accuracy"),
        (
            [one, segmentation(tmp_path / "masks", dice(2), "c", sha256="1")],
            f"the files of {tmp_path / 'masks'} differ",
        ),
        (
            [one, segmentation(tmp_path / "other", dice(2), "c", sha256="1", dataset="other")],
            f"the files of {tmp_path / 'other'} differ from {one}",
        ),
        ([one, segmentation(tmp_path / "fewer", dice(2, n=39), "d")], f"the files of {tmp_path / 'fewer'} differ"),
    ):
        assert main(["compare", *map(str, argv)]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


def classified(folder: Path, odds: np.ndarray, targets: np.ndarray, name: str) -> Path:
    """A finished result of two classes, five images a patient, by the log-odds of the second, (R, N)."""
    folder.mkdir()
    ids = [f"image{i}" for i in range(len(targets))]
    both = np.stack([-odds, odds], -1)
    scores = (1 / (1 + np.exp(-both))).astype(np.float32)
    part = Predictions("test", ids, [f"patient{i // 5}" for i in range(len(ids))], targets, scores, both)
    pq.write_table(predictions_table([part], ["a", "b"], range(len(odds))), folder / PREDICTIONS)
    result(folder, name, "auroc", dataset="scans")
    return folder


def test_models_that_are_sure_of_everything_are_compared_by_log_odds(tmp_path: Path):
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(30) % 2, 5)
    sure = 300 + targets + rng.normal(0, 0.3, (1, 150))  # every probability rounds to 1
    folders = [
        classified(tmp_path / "sure", sure, targets, "sure"),
        classified(tmp_path / "random", rng.normal(0, 1, (1, 150)), targets, "random"),
    ]
    read = read_predictions(folders[0], "test")
    assert (read.scores[..., 1] == 1).all()
    assert np.array_equal(read.log_odds[..., 1], sure.astype(np.float32))
    (sentence,) = compare(folders)
    assert sentence.startswith("sure is better than random on scans test: auroc differs by 0.5")


def test_what_is_not_defined_or_rests_on_one_patient_is_said(tmp_path: Path):
    rng = np.random.default_rng(0)
    for name, targets in (("none", np.zeros(40, int)), ("one", np.repeat([0] * 7 + [1], 5))):
        folders = [classified(tmp_path / f"{name}{n}", rng.normal(0, 1, (2, 40)), targets, f"m{n}") for n in range(3)]
        first, *rest = compare(folders)
        assert len(rest) == 2
        if name == "none":
            assert (
                first
                == "m0 and m1 cannot be compared on scans test: auroc is not defined there, as a class is missing."
            )
        else:
            assert "of 2,000 draws lack a class and are left out; fewer than 20 groups, of which one alone" in first
            assert "after Holm for 3 pairs" in first
            assert first.startswith("m0 and m1 cannot be told apart")


def test_predictions_without_log_odds_are_ranked_by_their_probabilities(tmp_path: Path):
    scores = np.array([[[0.25, 0.75], [1, 0]]], np.float32)
    part = Predictions("test", ["x", "y"], ["", ""], np.array([1, 0]), scores)
    table = predictions_table([part], ["a", "b"], [0])
    assert table["log_odds_b"].to_pylist() == pytest.approx([np.log(3), -np.inf])
    pq.write_table(table.drop_columns(["log_odds_a", "log_odds_b"]), tmp_path / PREDICTIONS)
    result(tmp_path, "m", "auroc")
    read = read_predictions(tmp_path, "test")
    classes = read.labels
    assert (classes, read.log_odds) == (["a", "b"], None)
    assert np.array_equal(read.ranking, part.ranking)
