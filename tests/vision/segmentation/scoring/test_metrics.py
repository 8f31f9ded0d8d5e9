import warnings
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score
from torchmetrics.functional.segmentation import dice_score, mean_iou

from eva_core.statistics.summary import measured_record
from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.scoring.metrics import counts, over_classes, per_class, weighted

CLASSES = ["background", "a", "b", "c"]


def maps(seed: int, n: int = 5, ignored: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets, (n, 7, 6) each; some classes are missing in some images."""
    rng = np.random.default_rng(seed)
    target = rng.integers(4, size=(n, 7, 6)).astype(np.uint8)
    target[0][target[0] == 2] = 0
    prediction = np.where(rng.random(target.shape) < 0.5, target, rng.integers(4, size=target.shape)).astype(np.uint8)
    prediction[1][prediction[1] == 3] = 1
    target[rng.random(target.shape) < ignored] = IGNORE
    return prediction, target


def counted(predictions: np.ndarray, targets: np.ndarray, ignore: str = "target") -> np.ndarray:
    return np.stack([counts(p, t, 4, ignore) for p, t in zip(predictions, targets, strict=True)])


def test_counts_by_hand():
    prediction, target = np.array([[0, 1, 1], [2, 2, 0]]), np.array([[0, 1, 2], [2, IGNORE, IGNORE]])
    assert counts(prediction, target, 3).tolist() == [[1, 1, 1], [1, 2, 1], [1, 1, 2]]


def test_the_rule_by_prediction_gives_a_perfect_prediction_two_thirds():
    target = np.array([[1, 1, IGNORE, IGNORE]])
    perfect = np.array([[1, 1, 1, 1]])
    for ignore, expected in (("target", 1), ("prediction", 2 / 3)):
        dice, _ = per_class(counts(perfect, target, 2, ignore), "ignore")
        assert dice[1] == pytest.approx(expected, abs=1e-12)


def test_the_rule_by_prediction_leaves_out_what_is_predicted_as_ignored():
    found = counts(np.array([[IGNORE, 1, 0]]), np.array([[1, 1, IGNORE]]), 2, "prediction")
    assert found.tolist() == [[0, 1], [1, 1], [0, 1]]


def test_what_counts_as_empty():
    absent = np.array([[5, 0, 0, 2], [6, 1, 0, 3], [7, 0, 0, 2]])  # a: only predicted; b: nowhere
    for empty, expected in (("ignore", [10 / 13, np.nan, np.nan, 0.8]), ("penalise", [10 / 13, 0, np.nan, 0.8])):
        dice, iou = per_class(absent, empty)
        assert dice == pytest.approx(expected, nan_ok=True)
        assert iou == pytest.approx([d / (2 - d) for d in expected], nan_ok=True)  # of two sets IoU = D / (2 - D)
    assert over_classes(dice, 0) == pytest.approx(0.4)
    assert over_classes(dice, None) == pytest.approx((10 / 13 + 0.8) / 3)
    assert np.isnan(over_classes(np.array([0.5, np.nan]), 0))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**20), ignored=st.floats(0, 1), empty=st.sampled_from(["ignore", "penalise"]))
def test_perfect_on_all_that_counts_is_exactly_1(seed, ignored, empty):
    noise, target = maps(seed, ignored=ignored)
    prediction = np.where(target == IGNORE, noise, target)
    values = weighted(counted(prediction, target), np.ones((1, 5)), CLASSES, 0, empty)
    assert {float(v[0]) for v in values.values() if not np.isnan(v[0])} <= {1.0}
    there = set(np.unique(target)) - {IGNORE}
    assert {c for c, name in enumerate(CLASSES) if values[f"dice/{name}"][0] == 1} == there
    assert (values["dice"][0] == 1) == bool(there - {0})


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_predictions_on_ignored_pixels_change_nothing(seed):
    prediction, target = maps(seed)
    ignored = target == IGNORE
    other = prediction.copy()
    other[ignored] = np.random.default_rng(seed).integers(256, size=ignored.sum())
    assert np.array_equal(counted(prediction, target), counted(other, target))


@pytest.mark.parametrize("seed", range(5))
def test_images_agree_with_torchmetrics(seed):
    prediction, target = maps(seed, ignored=0)
    dice, iou = per_class(counted(prediction, target), "penalise")
    both = torch.from_numpy(prediction).long(), torch.from_numpy(target).long()
    theirs = dice_score(*both, num_classes=4, average="none", input_format="index").numpy()
    assert np.nan_to_num(dice) == pytest.approx(np.nan_to_num(theirs), abs=1e-6)
    theirs = mean_iou(*both, num_classes=4, per_class=True, input_format="index").numpy()
    assert np.nan_to_num(iou) == pytest.approx(np.where(theirs < 0, 0, theirs), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_pooled_agrees_with_scikit_learn(seed):
    prediction, target = maps(seed)
    keep = target != IGNORE
    values = weighted(counted(prediction, target), np.ones((1, 5)), CLASSES, 0, "ignore")
    for name, score in (("dice_pooled", f1_score), ("iou_pooled", jaccard_score)):
        each = score(target[keep], prediction[keep], labels=range(4), average=None)
        assert [values[f"{name}/{c}"][0] for c in CLASSES] == pytest.approx(each)
        assert values[name][0] == pytest.approx(each[1:].mean())


@pytest.mark.parametrize("empty", ["ignore", "penalise"])
@pytest.mark.parametrize("background", [0, None])
def test_weights_are_copies_of_images(empty, background):
    prediction, target = maps(3)
    numbers = counted(prediction, target)
    extra = {"aji": np.array([0.5, np.nan, 0.1, 0.9, 0.3])}
    weights = np.array([[1, 1, 1, 1, 1], [2, 0, 3, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = weighted(numbers, weights, CLASSES, background, empty, extra)
    first = 1 if background == 0 else 0
    for row, drawn in enumerate(weights):
        images = np.repeat(np.arange(5), drawn)
        by_image = [per_class(numbers[i], empty)[0] for i in images]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # means of nothing
            means = [np.nanmean(scores[first:]) for scores in by_image]
            assert found["dice"][row] == pytest.approx(np.nanmean(means), nan_ok=True)
            assert found["dice/b"][row] == pytest.approx(np.nanmean([s[2] for s in by_image]), nan_ok=True)
            assert found["aji"][row] == pytest.approx(np.nanmean(extra["aji"][images]), nan_ok=True)
            hits, predicted, wanted = numbers[images].sum(0)
            assert found["iou_pooled/c"][row] == pytest.approx(
                np.divide(hits[3], float(predicted[3] + wanted[3] - hits[3])), nan_ok=True
            )
    assert np.isnan([values[3] for values in found.values()]).all()


def test_names_and_their_order():
    values = weighted(counted(*maps(0)), np.ones((2, 5)), CLASSES, 0, "ignore", {"aji": np.ones(5), "pq": np.ones(5)})
    main = ["dice", "iou", "dice_pooled", "iou_pooled"]
    assert list(values) == [*main, *(f"{name}/{c}" for name in main for c in CLASSES), "aji", "pq"]
    assert {v.shape for v in values.values()} == {(2,)}


def test_a_record_of_two_runs():
    prediction, target = maps(1, n=12)
    runs = [counted(p, target) for p in (prediction, np.where(target == IGNORE, 0, target))]
    measures = [partial(weighted, numbers, classes=CLASSES, background=0, empty="ignore") for numbers in runs]
    groups = [str(i // 3) for i in range(12)]
    record, intervals = measured_record(measures, [measures[1]] * 2, 12, groups)
    first = measures[0](np.ones((1, 12)))["dice"][0]
    dice = record["metrics"]["dice"]
    assert (record["n"], record["n_groups"], record["interval"]) == (12, 4, "group")
    assert dice["values"] == [first, 1]
    assert dice["mean"] == pytest.approx((first + 1) / 2)
    assert dice["std"] == pytest.approx((1 - first) / 2**0.5)
    assert dice["last"] == 1
    low, high = dice["ci95"]
    assert low < first < high == 1
    assert dice["t95"] is not None
    assert intervals.draws["dice"].shape == (2000,)


def test_what_no_image_has_is_none_in_a_record():
    zeros = np.zeros((3, 4, 4), np.uint8)
    measure = partial(weighted, counted(zeros, zeros), classes=CLASSES, background=0, empty="ignore")
    metrics = measured_record([measure], [measure], 3, None)[0]["metrics"]
    assert metrics["dice"] == {"mean": None, "std": None, "ci95": None, "t95": None, "values": [None], "last": None}
    assert metrics["dice/background"]["mean"] == 1


@pytest.mark.parametrize("empty", ["ignore", "penalise"])
def test_a_weighting_without_a_class_has_no_pooled_score(empty):
    """One image has the last class, and it is not found there; elsewhere it is found where it is not."""
    target = np.ones((4, 4, 4), np.uint8)
    target[3] = 3
    prediction = np.ones_like(target)
    prediction[0, 0] = 3
    weights = np.array([[1, 1, 1, 1], [2, 1, 1, 0], [0, 2, 2, 0]])
    values = weighted(counted(prediction, target), weights, CLASSES, 0, empty)
    assert values["dice_pooled"][0] == pytest.approx((2 * 44 / (44 + 16 + 48) + 0) / 2)
    for name in ("dice_pooled", "iou_pooled", "dice_pooled/c", "iou_pooled/c", "dice/c", "iou/c"):
        assert not np.isnan(values[name][0])
        assert np.isnan(values[name][1:]).all(), name
    assert not np.isnan(values["dice"]).any()  # each image is scored by itself
    assert np.isnan(weighted(counted(prediction, target), weights, CLASSES, 3, empty)["dice_pooled/c"][1])
    assert not np.isnan(weighted(counted(prediction, target), weights, CLASSES, 3, empty)["dice_pooled"]).any()


def test_labels_and_shapes_that_make_no_sense():
    zeros = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match=r"Expected a prediction of shape \(2, 2\), but got \(2, 3\)"):
        counts(np.zeros((2, 3), np.uint8), zeros, 3)
    for prediction, target in ((zeros + 3, zeros), (zeros, zeros + 3)):
        with pytest.raises(ValueError, match="Expected labels below 3, but got 3"):
            counts(prediction, target, 3)
    with pytest.raises(ValueError, match="Expected labels below 3, but got 255"):
        counts(zeros + IGNORE, zeros, 3)
    with pytest.raises(ValueError, match=r"counts of shape \(N, 3, 4\)"):
        weighted(np.zeros((2, 3, 3), int), np.ones((1, 2)), CLASSES, 0, "ignore")
    with pytest.raises(ValueError, match=r"weights of shape \(draws, 2\)"):
        weighted(np.zeros((2, 3, 4), int), np.ones((1, 3)), CLASSES, 0, "ignore")
