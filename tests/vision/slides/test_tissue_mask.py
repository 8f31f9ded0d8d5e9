import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eva_core.errors import EvaError
from eva_vision.slides.tissue_mask import TissueMask


def random_mask(seed, width, height, scale=4):
    pixels = np.random.default_rng(seed).random((height, width)) < 0.5
    return pixels, TissueMask.of(pixels, width * scale, height * scale, 0.5)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(-60, 170), st.integers(-60, 130), st.integers(1, 120))
def test_a_share_is_what_counting_pixels_gives(width, height, x, y, side):
    pixels, mask = random_mask(0, width, height)
    full = np.pad(np.kron(pixels, np.ones((4, 4))), 300)
    assert mask.share(x, y, side) == pytest.approx(full[300 + y :, 300 + x :][:side, :side].sum() / side**2)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 30), st.floats(1, 90))
def test_a_grid_is_of_squares_side_by_side(width, height, side):
    mask = TissueMask.of(np.random.default_rng(1).random((height, width)) < 0.5, 4 * width + 1, 4 * height, 0.5)
    grid = mask.grid(side)
    assert grid.shape == (int(4 * height / side), int((4 * width + 1) / side))
    for row, column in np.ndindex(grid.shape):
        assert grid[row, column] == pytest.approx(mask.share(column * side, row * side, side), abs=1e-9)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(1, 130))
@example(4, 4, 20.0)
def test_shares_are_those_of_every_pixel(width, height, side):
    _, mask = random_mask(1, width, height)
    shares = mask.shares(side)
    assert shares.shape == tuple(max(0, int(n - side / 4 + 1e-9) + 1) for n in (height, width))
    for row, column in np.ndindex(shares.shape):
        assert shares[row, column] == pytest.approx(mask.share(column * 4, row * 4, side), abs=1e-9)


def test_pixels_of_tissue_by_number():
    pixels, mask = random_mask(2, 37, 21)
    assert [mask.nth(n) for n in range(pixels.sum())] == list(zip(*map(list, np.nonzero(pixels)), strict=True))


def test_a_mask_survives_storage_and_damage_is_told():
    pixels, mask = random_mask(3, 1000, 800)
    stored = mask.to_bytes()
    again = TissueMask.from_bytes(stored)
    assert np.array_equal(again.pixels, pixels)
    assert (again.slide_width, again.slide_height, again.slide_mpp, again.area) == (4000, 3200, 0.5, mask.area)
    tissue = np.zeros((1536, 2048), bool)
    tissue[200:900, 300:1500] = True
    assert len(TissueMask.of(tissue, 40_000, 30_000, 0.25).to_bytes()) < 2000
    for damaged in (b"", stored[:50], b"x" + stored[1:], stored[:-20]):
        with pytest.raises(EvaError, match="tissue mask"):
            TissueMask.from_bytes(damaged)
