import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva_vision.slides.area import area_resize, cubic_resize


def exact(pixels: np.ndarray, rows: int, columns: int, down: float, across: float) -> np.ndarray:
    """The mean over the area of each new pixel, in float64."""

    def weights(n: int, span: float, length: int) -> np.ndarray:
        edges, at = np.linspace(0, span, length + 1), np.arange(n)
        overlap = np.minimum(at + 1, edges[1:, None]) - np.maximum(at, edges[:-1, None])
        return np.clip(overlap, 0, None) * length / span

    down_weights, across_weights = weights(len(pixels), down, rows), weights(pixels.shape[1], across, columns)
    return np.einsum("ij,jkc,lk->ilc", down_weights, pixels.astype(float), across_weights, optimize=True)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 60), st.integers(0, 60), st.integers(0, 99))
def test_each_pixel_is_the_mean_of_what_it_covers(width, height, wider, higher, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height + higher, width + wider, 3), np.uint8)
    resized = area_resize(pixels, width, height)
    assert resized.shape == (height, width, 3)
    assert np.abs(resized - exact(pixels, height, width, height + higher, width + wider)).max() <= 3


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.floats(1.01, 3.9), st.integers(0, 99))
def test_a_span_need_not_be_whole(size, factor, seed):
    span = size * factor
    pixels = np.random.default_rng(seed).integers(0, 256, (int(np.ceil(span)),) * 2 + (3,), np.uint8)
    assert np.abs(area_resize(pixels, size, size, span) - exact(pixels, size, size, span, span)).max() <= 3


@pytest.mark.parametrize("value", [0, 7, 255])
def test_flat_stays_flat(value):
    flat = np.full((101, 101, 3), value, np.uint8)
    assert (area_resize(flat, 64, 37) == value).all()
    assert (cubic_resize(flat, 64, 100.5) == value).all()


def test_whole_factors_average_exactly():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    means = pixels.reshape(16, 4, 24, 4, 3).mean(axis=(1, 3))
    assert np.abs(area_resize(pixels, 24, 16) - means).max() <= 0.5
