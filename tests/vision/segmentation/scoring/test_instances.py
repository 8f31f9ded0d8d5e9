import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.scoring.instances import aji, label_components, panoptic_quality, part_touching


def discs(*centres: tuple[int, int, int], size: int = 60) -> np.ndarray:
    """A map of classes with discs of (y, x, radius)."""
    y, x = np.mgrid[:size, :size]
    found = np.zeros((size, size), np.uint8)
    for cy, cx, r in centres:
        found[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = 1
    return found


def rectangles(seed: int) -> np.ndarray:
    """Instances that may cover parts of each other, (12, 12), their numbers with gaps."""
    rng = np.random.default_rng(seed)
    found = np.zeros((12, 12), np.int32)
    for number in rng.choice(50, size=rng.integers(6), replace=False) + 1:
        y, x = rng.integers(10, size=2)
        height, width = rng.integers(1, 6, size=2)
        found[y : y + height, x : x + width] = number
    return found


def iou_of_pairs(truth: np.ndarray, prediction: np.ndarray) -> dict[tuple[int, int], tuple[int, int]]:
    """Intersection and union of every pair, as sets of pixels."""
    found = {}
    for t in set(truth[truth > 0].tolist()):
        for p in set(prediction[prediction > 0].tolist()):
            found[t, p] = int(((truth == t) & (prediction == p)).sum()), int(((truth == t) | (prediction == p)).sum())
    return found


def aji_by_hand(truth: np.ndarray, prediction: np.ndarray) -> float:
    pairs, taken = iou_of_pairs(truth, prediction), set()
    common = union = 0
    for t in set(truth[truth > 0].tolist()):
        found = [(i / u, i, u, p) for (other, p), (i, u) in pairs.items() if other == t and i]
        if not found:
            union += (truth == t).sum()
            continue
        _, i, u, p = max(found, key=lambda f: (f[0], -f[3]))
        common, union = common + i, union + u
        taken.add(p)
    union += sum((prediction == p).sum() for p in set(prediction[prediction > 0].tolist()) - taken)
    return common / union if union else float("nan")


def pq_by_hand(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float, float]:
    matched = [i / u for i, u in iou_of_pairs(truth, prediction).values() if i / u > 0.5]
    missed = len(set(truth[truth > 0].tolist())) - len(matched)
    invented = len(set(prediction[prediction > 0].tolist())) - len(matched)
    whole = len(matched) + missed / 2 + invented / 2
    if not whole:
        return float("nan"), float("nan"), float("nan")
    quality = sum(matched) / len(matched) if matched else float("nan")
    return sum(matched) / whole, len(matched) / whole, quality


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**20), shift=st.integers(0, 2))
def test_agree_with_every_pair_by_hand(seed, shift):
    truth = rectangles(seed)
    prediction = np.roll(truth, shift, axis=1) if seed % 2 else rectangles(seed + 1)
    assert aji(truth, prediction) == pytest.approx(aji_by_hand(truth, prediction), nan_ok=True)
    assert panoptic_quality(truth, prediction) == pytest.approx(pq_by_hand(truth, prediction), nan_ok=True)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_perfect_on_all_that_counts_is_exactly_1_whatever_the_rest(seed):
    truth = rectangles(seed)
    counted = np.random.default_rng(seed).random(truth.shape) < 0.7
    renamed = np.random.default_rng(seed).permutation(60)[truth] + 1
    prediction = np.where(counted, np.where(truth > 0, renamed, 0), rectangles(seed + 1))
    if not truth[counted].any():
        assert np.isnan([aji(truth, prediction, counted), *panoptic_quality(truth, prediction, counted)]).all()
    else:
        assert aji(truth, prediction, counted) == 1
        assert panoptic_quality(truth, prediction, counted) == (1, 1, 1)


def test_nothing_there_and_nothing_found():
    nothing, something = np.zeros((4, 4), int), np.eye(4, dtype=int)
    assert np.isnan([aji(nothing, nothing), *panoptic_quality(nothing, nothing)]).all()
    for truth, prediction in ((nothing, something), (something, nothing)):
        assert aji(truth, prediction) == 0
        pq, dq, sq = panoptic_quality(truth, prediction)
        assert (pq, dq) == (0, 0)
        assert np.isnan(sq)


def test_one_prediction_over_two_objects_is_claimed_twice():
    truth, prediction = np.array([[1, 1, 2, 2]]), np.array([[7, 7, 7, 7]])
    assert aji(truth, prediction) == 4 / 8  # each: 2 of 4
    assert panoptic_quality(truth, prediction)[0] == 0  # an IoU of one half is no match


def test_maps_of_other_shapes():
    with pytest.raises(ValueError, match=r"Expected maps of shape \(2, 2\), but got \(2, 3\)"):
        aji(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match=r"Expected counted of shape \(2, 2\), but got \(2, 3\)"):
        panoptic_quality(np.zeros((2, 2), int), np.zeros((2, 2), int), np.ones((2, 3), bool))


def test_components_of_each_class_apart():
    classes = np.array(
        [
            [1, 1, 2, 0, 1],
            [0, 1, 2, 0, 1],
            [0, 0, 0, 1, 0],
            [IGNORE, IGNORE, 0, 1, 2],
        ],
        np.uint8,
    )
    found = label_components(classes, background=0)
    assert found.dtype == np.int32
    assert len(np.unique(found)) - 1 == 5  # the parts that touch at a corner are two
    assert (found[classes == IGNORE] == 0).all()
    assert (found[classes == 0] == 0).all()
    assert found[0, 0] == found[1, 1] != found[0, 2]
    assert found[0, 4] != found[2, 3]
    assert label_components(classes, background=None)[1, 0] > 0
    assert not label_components(np.zeros((3, 3), np.uint8), 0).any()


@pytest.mark.parametrize(
    ("centres", "parts"),
    [
        ([(30, 30, 12)], 1),
        ([(30, 20, 10), (30, 36, 10)], 2),
        ([(30, 20, 12), (30, 37, 7)], 2),
        ([(14, 20, 9), (14, 37, 9), (29, 28, 9)], 3),
        ([(30, 20, 10), (30, 50, 6)], 2),
        ([(0, 30, 12)], 1),
    ],
)
def test_touching_discs_are_parted_at_the_waist(centres, parts):
    found = part_touching(label_components(discs(*centres), background=0))
    truth = np.zeros((60, 60), int)
    y, x = np.mgrid[:60, :60]
    nearest = np.argmin([np.hypot(y - cy, x - cx) - r for cy, cx, r in centres], axis=0)
    truth[discs(*centres) > 0] = nearest[discs(*centres) > 0] + 1
    assert np.array_equal(found > 0, truth > 0)
    assert len(np.unique(found)) - 1 == parts
    assert aji(truth, found) > 0.9


def test_a_band_is_one_object():
    band = np.zeros((40, 60), np.uint8)
    band[10:20, 5:55] = 1
    assert part_touching(label_components(band, 0)).max() == 1


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_parting_loses_no_object_and_joins_none(seed):
    instances = label_components(rectangles(seed).astype(np.uint8), 0)
    parts = part_touching(instances, apart=2)
    assert np.array_equal(parts > 0, instances > 0)
    assert set(np.unique(parts[parts > 0])) == set(range(1, parts.max() + 1))
    for number in range(1, parts.max() + 1):
        assert len(np.unique(instances[parts == number])) == 1
        assert label_components((parts == number).astype(np.uint8), 0).max() == 1
