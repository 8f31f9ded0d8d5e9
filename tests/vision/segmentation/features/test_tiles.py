"""Tiles: they cover the image, share what was asked for, and come back together exactly."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eva_core.errors import UsageError
from eva_vision.segmentation.features.tiles import (
    cut,
    grid,
    inside,
    owned,
    rescale,
    rescale_labels,
    scaled_size,
    stitch,
)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Height, width, tile and overlap."""
    tile = draw(st.integers(1, 24))
    return draw(st.integers(1, 70)), draw(st.integers(1, 70)), tile, draw(st.integers(0, tile - 1))


def labels_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width), np.uint8)


@settings(max_examples=150, deadline=None)
@given(cuts())
def test_cutting_and_stitching_gives_the_map_back(asked: tuple[int, int, int, int]):
    height, width, tile, overlap = asked
    labels = labels_of(height, width)
    tiles = [cut(labels, y, x, tile, fill=255) for y, x in grid(height, width, tile, overlap)]
    assert {t.shape for t in tiles} == {(tile, tile)}
    back = stitch(tiles, *asked)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, labels)


@settings(max_examples=300, deadline=None)
@given(cuts())
def test_every_pixel_is_owned_once_by_a_tile_that_shows_it(asked: tuple[int, int, int, int]):
    height, width, tile, _ = asked
    owners = np.zeros((height, width), int)
    for y, x, rows, columns in owned(*asked):
        assert y <= rows.start < rows.stop <= min(y + tile, height)
        assert x <= columns.start < columns.stop <= min(x + tile, width)
        owners[rows, columns] += 1
    assert (owners == 1).all()
    assert [(y, x) for y, x, _, _ in owned(*asked)] == grid(*asked)


@settings(max_examples=200, deadline=None)
@given(cuts())
def test_the_owner_is_the_tile_in_which_a_pixel_lies_furthest_from_the_border(asked: tuple[int, int, int, int]):
    _, width, tile, overlap = asked
    row = owned(1, width, tile, overlap)
    for _, x, _, columns in row:
        for pixel in range(columns.start, columns.stop):
            depths = [min(pixel - start, start + tile - 1 - pixel) for _, start, _, _ in row]
            assert min(pixel - x, x + tile - 1 - pixel) == max(depths)


@settings(max_examples=300, deadline=None)
@given(cuts())
def test_tiles_share_at_least_the_overlap_and_are_spread_evenly(asked: tuple[int, int, int, int]):
    height, width, tile, overlap = asked
    corners = grid(*asked)
    assert corners == sorted(set(corners))
    for length, starts in ((height, sorted({y for y, _ in corners})), (width, sorted({x for _, x in corners}))):
        steps = np.diff(starts)
        assert starts[0] == 0
        assert (tile - steps >= overlap).all()
        assert steps.size == 0 or np.ptp(steps) <= 1
        assert starts[-1] + tile == length or (len(starts) == 1 and length < tile)
        # one tile fewer could not cover the image
        assert len(starts) == 1 or tile + (len(starts) - 2) * (tile - overlap) < length


def test_a_grid_by_hand():
    assert grid(10, 4, 4, 1) == [(0, 0), (3, 0), (6, 0)]
    assert grid(3, 9, 4, 0) == [(0, 0), (0, 2), (0, 5)]
    assert [rows for _, _, rows, _ in owned(10, 4, 4, 2)] == [slice(0, 3), slice(3, 5), slice(5, 7), slice(7, 10)]
    assert len(grid(1000, 1000, 250, 0)) == 16


def test_inside_drops_what_does_not_fill_a_tile():
    assert inside(9, 4, 4) == [(0, 0), (4, 0)]
    assert inside(8, 8, 4) == [(0, 0), (0, 4), (4, 0), (4, 4)]
    assert inside(3, 100, 4) == []
    assert len(inside(1000, 1000, 250)) == 16


def test_images_are_mirrored_beyond_the_border_as_often_as_it_takes():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    tile = cut(image, 0, 0, 8)
    mirrored = np.array([0, 1, 1, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(tile, image[mirrored][:, np.array([0, 1, 2, 2, 1, 0, 0, 1])])


def test_masks_are_filled_beyond_the_border():
    mask = np.ones((2, 3), np.uint8)
    tile = cut(mask, 1, 1, 4, fill=255)
    assert tile.dtype == np.uint8
    assert (tile[:1, :2] == 1).all()
    assert (tile == 255).sum() == 14


def test_a_tile_is_a_copy():
    image = np.zeros((8, 8, 3), np.uint8)
    cut(image, 0, 0, 8)[:] = 1
    assert not image.any()


@pytest.mark.parametrize("corner", [(8, 0), (0, 8), (-1, 0)])
def test_a_tile_outside_the_image_is_refused(corner: tuple[int, int]):
    with pytest.raises(ValueError, match=r"^Expected a tile that begins in an image of 8 x 8 px, but got y="):
        cut(np.zeros((8, 8), np.uint8), *corner, 4, fill=0)


@pytest.mark.parametrize("overlap", [4, 5, -1])
def test_an_overlap_must_be_smaller_than_the_tile(overlap: int):
    with pytest.raises(
        UsageError, match=rf"^Expected an overlap .* less than the tile of 4 px, but got {overlap}\. Set "
    ):
        grid(10, 10, 4, overlap)


def test_sizes_at_another_mpp():
    assert scaled_size(1000, 500, 0.25, 0.5) == (500, 250)
    assert scaled_size(1000, 500, 0.5, 0.5) == (1000, 500)
    assert scaled_size(3, 1, 0.25, 2.0) == (1, 1)


@pytest.mark.parametrize("mpp", [0.0, -0.5, float("nan"), float("inf")])
def test_an_mpp_must_be_above_0(mpp: float):
    with pytest.raises(UsageError, match=r"^Expected micrometres per pixel above 0, but got"):
        scaled_size(10, 10, 0.5, mpp)


def test_images_are_shrunk_by_areas_and_labels_by_centres():
    image = np.zeros((16, 4, 3), np.uint8)
    image[::2] = 200  # stripes of a pixel turn grey: no aliasing
    assert (abs(rescale(image, (8, 2))[1:-1].astype(int) - 100) <= 1).all()
    assert rescale(image, (2, 3)).shape == (2, 3, 3)
    labels = np.arange(9, dtype=np.int32).reshape(3, 3)
    np.testing.assert_array_equal(rescale_labels(labels, (1, 1)), [[4]])
    np.testing.assert_array_equal(rescale_labels(labels, (6, 6)), labels.repeat(2, 0).repeat(2, 1))
    assert rescale_labels(labels, (6, 6)).dtype == np.int32


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_no_label_is_nearer_to_the_centre_of_a_new_pixel(old: int, new: int):
    chosen = rescale_labels(np.arange(old)[None], (1, new))[0]
    centres = (np.arange(new) + 0.5) * old / new
    distances = abs(centres[:, None] - (np.arange(old) + 0.5))
    np.testing.assert_allclose(distances[np.arange(new), chosen], distances.min(axis=1))


@pytest.mark.parametrize("size", [(20, 15), (4, 60), (10, 30)])
def test_labels_agree_with_pillow(size: tuple[int, int]):
    labels = labels_of(20, 30)  # exact ratios: where two labels are equally near, rounding decides in Pillow
    theirs = np.array(Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST))
    np.testing.assert_array_equal(rescale_labels(labels, size), theirs)


def test_several_runs_are_stitched_at_once_and_images_come_from_one_iterator():
    first, second = (np.random.default_rng(k).integers(0, 9, (3, 11, 7), np.uint8) for k in range(2))
    tiles = (m[:, y : y + 4, x : x + 4] for m in (first, second) for y, x in grid(11, 7, 4, 2))
    np.testing.assert_array_equal(stitch(tiles, 11, 7, 4, 2), first)
    np.testing.assert_array_equal(stitch(tiles, 11, 7, 4, 2), second)
    assert next(tiles, None) is None


def test_a_tile_too_few_and_a_wrong_size_are_refused():
    tiles = [np.zeros((4, 4), np.uint8)] * 3
    with pytest.raises(ValueError, match=r"^Expected the maps of 4 tiles, but got 3\.$"):
        stitch(tiles, 8, 8, 4, 0)
    with pytest.raises(ValueError, match=r"^Expected the maps of 4 tiles, but got 0\.$"):
        stitch([], 8, 8, 4, 0)
    with pytest.raises(ValueError, match=r"^Expected maps of 5 x 5 px, but got \(4, 4\)\.$"):
        stitch(tiles, 8, 8, 5, 0)


def test_tiles_do_without_torch():
    code = "import sys, eva_vision.segmentation.features.tiles; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
