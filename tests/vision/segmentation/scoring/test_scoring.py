"""Scoring: right answers score 1 up to the last pixel at the border, wrong ones what the protocol says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from eva_core.contracts.dataset import Sample
from eva_vision.segmentation.context import Context
from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.features.tiles import rescale_labels
from eva_vision.segmentation.scoring.instances import label_components
from eva_vision.segmentation.scoring.metrics import counts, over_classes, per_class
from eva_vision.segmentation.scoring.scoring import INSTANCES, masks, mean_dice, predicted, score, units_of
from tests.vision.segmentation.tiny import PALETTE, Constant, Nearest, Painted, Pixels, coloured, laid_out, protocol

RANDOM = np.random.default_rng(0)
SIZES = [(16, 16), (1, 1), (3, 40), (17, 16), (33, 15), (60, 60), *map(tuple, RANDOM.integers(2, 70, (8, 2)).tolist())]


def everything(at: Context) -> np.ndarray:
    return np.arange(len(at.dataset.samples))


@pytest.fixture
def at() -> Context:
    return laid_out(Painted(train=[(37, 23)], test=[(20, 30), (16, 9), (40, 40)]))


@pytest.mark.parametrize("overlap", [0, 3, 8])
def test_right_pixels_score_one_borders_and_all(overlap: int):
    at = laid_out(Painted(train=SIZES, test=[(5, 5)]), recipe=protocol(overlap=overlap))
    found = score(at, [Nearest()], everything(at))
    dice, by_class = found.dice(at)
    assert not np.nanmin(by_class) < 1
    assert set(by_class[~np.isnan(by_class)].tolist()) == {1.0}
    assert set(dice[~np.isnan(dice)].tolist()) == {1.0}
    for unit, counted in zip(found.units, found.counts[0], strict=True):
        whole = at.dataset.mask(at.dataset.samples[unit.sample])
        assert (unit.height, unit.width) == whole.shape
        assert counted.tolist() == [np.bincount(whole.ravel(), minlength=3).tolist()] * 3  # each pixel once


def test_masks_are_whole_images_in_the_order_of_the_samples(at: Context):
    found = list(masks(at, [Nearest(), Constant(2)], np.array([0, 2, 3])))
    assert [unit.id for unit, _, _ in found] == ["train0", "test1", "test2"]
    for unit, predictions, target in found:
        whole = at.dataset.mask(at.dataset.samples[unit.sample])
        assert predictions.shape == (2, *whole.shape)
        assert np.array_equal(predictions[0], whole)
        assert (predictions[1] == 2).all()
        assert np.array_equal(target, whole)


def test_counts_of_several_decoders_are_those_of_each(at: Context):
    both = score(at, [Nearest(), Constant(1)], everything(at))
    assert np.array_equal(both.counts[1], score(at, [Constant(1)], everything(at)).counts[0])
    for number, sample in enumerate(at.dataset.samples):
        whole = at.dataset.mask(sample)
        assert np.array_equal(both.counts[1, number], counts(np.ones_like(whole), whole, 3))


def test_at_another_mpp_the_mask_is_scored_there():
    at = laid_out(Painted(mpp=0.25, train=[(40, 60)], test=[(31, 21)]), recipe=protocol(mpp=0.5))
    for unit, _, target in masks(at, [Constant(0)], everything(at)):
        whole = at.dataset.mask(at.dataset.samples[unit.sample])
        expected = rescale_labels(whole, tuple(round(side / 2) for side in whole.shape))
        assert np.array_equal(target, expected)


class LikePink(Painted):
    """What is ignored looks like a class that is there."""

    def image(self, sample: Sample) -> np.ndarray:
        mask = self.mask(sample)
        return PALETTE[np.where(mask == IGNORE, 1, mask)]


def test_what_the_target_ignores_does_not_count():
    at = laid_out(LikePink(hole=11, train=[(30, 30), (12, 40)]))
    assert score(at, [Nearest()], everything(at)).dice(at)[0].tolist() == [[1.0, 1.0]]


def test_the_wrong_rule_takes_it_for_errors():
    at = laid_out(LikePink(hole=11, train=[(30, 30), (12, 40)]), recipe=protocol(ignore="prediction"))
    found = score(at, [Nearest()], everything(at))
    for number, sample in enumerate(at.dataset.samples):
        whole = at.dataset.mask(sample)
        pink, blue = (int((whole == label).sum()) for label in (1, 2))
        by_hand = [2 * pink / (2 * pink + 11 * 11), 1.0 if blue else np.nan]
        assert found.dice(at)[1][0, number, 1:] == pytest.approx(by_hand)
        assert found.dice(at)[0][0, number] == pytest.approx(np.nanmean(by_hand))
        assert found.dice(at)[0][0, number] < 1


def test_an_image_of_which_nothing_counts_has_no_score_and_does_no_harm():
    at = laid_out(Painted(hole=16, train=[(16, 16), (30, 30)], val=[(16, 16)]))
    dice, _ = score(at, [Nearest()], everything(at)).dice(at)
    assert np.isnan(dice[0, [0, 2]]).all()
    assert dice[0, 1] == 1
    assert mean_dice(at, Nearest(), at.store.rows("train")) == 1
    assert mean_dice(at, Nearest(), at.store.rows("val")) == 0


@pytest.mark.parametrize(("empty", "expected"), [("ignore", 1.0), ("penalise", 0.5)])
def test_a_class_that_is_not_there(empty: str, expected: float):
    class OnlyPink(Painted):
        def mask(self, sample: Sample) -> np.ndarray:
            return np.ones(self.size(sample), np.uint8)

    class BluePixel(Nearest):
        def forward(self, features: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
            found = super().forward(features, images)
            found[:, 2, 0, 0] = 1
            return found

    at = laid_out(OnlyPink(train=[(16, 16)]), recipe=protocol(empty=empty))
    dice, by_class = score(at, [BluePixel()], everything(at)).dice(at)
    assert by_class[0, 0, 1] == pytest.approx(510 / 511)
    assert dice[0, 0] == pytest.approx(expected, abs=2e-3)


def test_the_mean_that_selects_is_over_images(at: Context):
    mixed = Constant(1)
    by_hand = []
    for sample in at.dataset.samples:
        whole = at.dataset.mask(sample)
        counted = counts(np.ones_like(whole), whole, 3)[None]
        by_hand.append(over_classes(per_class(counted, at.section.empty)[0], 0)[0])
    assert mean_dice(at, mixed, everything(at)) == pytest.approx(np.mean(by_hand))
    metrics = score(at, [mixed], everything(at)).counted(at, slice(None)).measures(at.card.classes)[0](np.ones((1, 4)))
    assert metrics["dice"][0] == pytest.approx(np.mean(by_hand))


@pytest.mark.parametrize("grouped", [True, False])
def test_units_are_images_where_tiles_are_stitched(grouped: bool):
    at = laid_out(Painted(grouped=grouped, train=[(40, 40), (20, 16)], test=[(9, 9)]))
    units = units_of(at, everything(at))
    assert [(u.id, u.height, u.width, u.row) for u in units] == [
        *(("train0", 40, 40, 0), ("train1", 20, 16, 9), ("test0", 9, 9, 11))
    ]
    assert [u.group for u in units] == (["train_0", "train_0", "test_0"] if grouped else ["", "", ""])


@pytest.mark.parametrize("grouped", [True, False])
def test_units_are_tiles_where_they_are_not(grouped: bool):
    dataset = Painted(grouped=grouped, train=[(40, 40), (20, 16)])
    at = laid_out(dataset, recipe=protocol(stitch=False, tile=16, overlap=0))
    units = units_of(at, everything(at))
    assert [u.id for u in units] == [*("train0[0,0]", "train0[0,16]", "train0[16,0]", "train0[16,16]", "train1[0,0]")]
    # tiles of an image are not independent
    assert [u.group for u in units] == (["train_0"] * 5 if grouped else ["train0"] * 4 + ["train1"])
    assert {(u.height, u.width) for u in units} == {(16, 16)}
    assert [u.id for u in units_of(at, np.array([1]))] == ["train1[0,0]"]


def test_whole_images_are_units_of_their_own_name():
    at = laid_out(Painted(grouped=False, train=[(40, 30), (16, 16)]), recipe=protocol(stitch=False, overlap=0))
    assert [(u.id, u.group, u.height) for u in units_of(at, everything(at))] == [("train0", "", 16), ("train1", "", 16)]


class Nuclei(Painted):
    """Squares apart, each an object."""

    def mask(self, sample: Sample) -> np.ndarray:
        mask = np.zeros(self.size(sample), np.uint8)
        mask[2:8, 2:8] = 1
        mask[2:8, 12:19] = 2
        mask[20:27, 12:18] = 1
        return mask

    def instances(self, sample: Sample) -> np.ndarray:
        return label_components(self.mask(sample), 0)


def test_objects_are_scored_of_the_selected_decoders_alone():
    at = laid_out(Nuclei(train=[(30, 22), (25, 40)]))
    found = score(at, [Nearest(), Constant(0), Nearest()], everything(at), instances=2)
    assert set(found.extras) == set(INSTANCES)
    assert found.extras["aji"][:2].tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert found.extras["pq"][:2].tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert all(np.isnan(values[2]).all() for values in found.extras.values())
    selected = found.counted(at, slice(None)).measures(at.card.classes)[0](np.ones((1, 2)))
    assert (selected["aji"][0], selected["pq"][0], selected["dice"][0]) == (1, 1, 1)
    assert score(at, [Nearest()], everything(at)).extras == {}


@pytest.mark.parametrize("tile", [None, 16])
def test_objects_are_cut_like_their_image(tile: int | None):
    at = laid_out(Nuclei(train=[(32, 32)]), recipe=protocol(stitch=False, tile=tile, overlap=0, side=16))
    found = score(at, [Nearest()], everything(at), instances=1)
    if tile is None:  # half as large, the colours at their borders are mixed
        assert found.extras["dq"].tolist() == [[1.0]]
    else:
        assert np.array_equal(found.extras["aji"], [[1.0, 1.0, 1.0, 1.0]])


def test_without_objects_there_are_no_scores_of_them(at: Context):
    assert score(at, [Nearest()], everything(at), instances=1).extras == {}


def test_prediction_is_the_mean_over_decoders_and_needs_no_mask():
    class Bare(Painted):
        def labelled(self, sample: Sample) -> bool:
            return False

        def mask(self, sample: Sample) -> np.ndarray:
            raise AssertionError("there is none")

        def image(self, sample: Sample) -> np.ndarray:
            return coloured(super().mask(sample))

    class Sure(Nearest):
        def forward(self, features: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
            return 1000 * super().forward(features, images)

    at = laid_out(Bare(new=[(20, 37), (5, 5)]))
    doubtful: nn.Module = Constant(2)
    for unit, found in predicted(at, [Sure(), doubtful], everything(at)):
        sample = at.dataset.samples[unit.sample]
        assert np.array_equal(found, Painted.mask(at.dataset, sample))
        assert found.dtype == np.uint8
    assert [u.id for u, _ in predicted(at, [doubtful], np.array([1]))] == ["new1"]


def test_maps_of_coarse_cells_are_scored_at_the_size_of_the_image():
    at = laid_out(Painted(train=[(20, 30)]), Pixels(cell=4))
    (_, predictions, target) = next(masks(at, [Nearest()], everything(at)))
    assert predictions.shape[1:] == target.shape == (20, 30)
    assert (predictions[0] == target).mean() > 0.6


def test_evaluation_changes_no_decoder(at: Context):
    layer = nn.BatchNorm2d(3)

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, features: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
            return self.layer(features)

    before = {name: value.clone() for name, value in layer.state_dict().items()}
    mean_dice(at, Normed().train(), everything(at))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_rules_are_those_of_the_dataset():
    recipe = protocol()
    recipe = replace(recipe, segmentation=replace(recipe.segmentation, datasets={"painted": {"ignore": "prediction"}}))
    assert laid_out(Painted(train=[(16, 16)]), recipe=recipe).section.ignore == "prediction"
