"""Tiles as they reach a model: each its part of image and mask, at the size and mpp that were asked."""

import numpy as np
import pytest

from eva_core.errors import UsageError
from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.features.tiles import rescale
from tests.vision.segmentation.tiny import (
    SIZES,
    Painted,
    Pixels,
    arrays,
    coloured,
    extracted,
    protocol,
)


@pytest.fixture
def dataset() -> Painted:
    return Painted(train=SIZES, test=[(20, 30)])


def test_a_tile_holds_its_part_of_image_and_mask(dataset: Painted):
    found = arrays(extracted(dataset, Pixels(), protocol()))
    assert found["masks"].dtype == found["images"].dtype == np.uint8
    for (sample, y, x), image, mask in zip(found["tiles"], found["images"], found["masks"], strict=True):
        whole = dataset.mask(dataset.samples[sample])[y : y + 16, x : x + 16]
        height, width = whole.shape
        assert np.array_equal(mask[:height, :width], whole)
        assert (mask[height:] == IGNORE).all()
        assert (mask[:, width:] == IGNORE).all()
        assert np.array_equal(image.transpose(1, 2, 0)[:height, :width], coloured(whole))
        assert image.any(axis=0).all()  # mirrored beyond the border, never black


def test_tiles_of_another_size_are_brought_to_the_models(dataset: Painted):
    found = arrays(extracted(dataset, Pixels(), protocol(tile=24)))
    assert found["images"].shape[1:] == (3, 16, 16)
    assert found["masks"].shape[1:] == (24, 24)
    first = dataset.image(dataset.samples[0])[:24, :23]
    mirrored = np.pad(first, ((0, 0), (0, 1), (0, 0)), mode="symmetric")
    assert np.array_equal(found["images"][0].transpose(1, 2, 0), rescale(mirrored, (16, 16)))


def test_without_stitching_an_image_is_resized_and_cropped_like_its_mask():
    dataset = Painted(train=[(32, 32), (32, 64)], test=[(16, 16)])
    store = extracted(dataset, Pixels(), protocol("eva-0.4-offline"))
    found = arrays(store)
    assert store.tiles.tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    for sample, mask in enumerate(found["masks"]):
        whole = dataset.mask(dataset.samples[sample])
        step = len(whole) // 16
        nearest = whole[step // 2 :: step, step // 2 :: step]
        first = (nearest.shape[1] - 16) // 2
        assert np.array_equal(mask, nearest[:, first : first + 16])
    assert np.array_equal(found["images"][2].transpose(1, 2, 0), dataset.image(dataset.samples[2]))


@pytest.mark.parametrize(("native", "target", "sizes"), [(0.25, 0.5, [(10, 15)]), (0.5, 0.25, [(40, 60)])])
def test_images_are_brought_to_the_wanted_mpp(native: float, target: float, sizes: list[tuple[int, int]]):
    dataset = Painted(mpp=native, train=[(20, 30)])
    store = extracted(dataset, Pixels(), protocol(mpp=target))
    assert store.sizes.tolist() == [list(size) for size in sizes]
    mask = arrays(store)["masks"][0][: sizes[0][0], :10]
    expected = dataset.mask(dataset.samples[0])
    expected = expected[1::2, 1::2] if target > native else expected.repeat(2, 0).repeat(2, 1)
    assert np.array_equal(mask, expected[:16, :10])


def test_without_an_mpp_none_can_be_reached(dataset: Painted):
    with pytest.raises(UsageError, match=r"Expected micrometres per pixel of 'painted'.*Set --dataset\.mpp"):
        extracted(dataset, Pixels(), protocol(mpp=0.5))
