import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BarycentricInterpolator

from eva_vision.slides.reading.resample import _shrink, area_resize, enlarge, sharp_order


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
    assert (area_resize(flat, 64, 64, 100.5, order=12) == value).all()
    assert (enlarge(flat, 128, 100.5) == value).all()


def test_whole_factors_average_exactly():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    means = pixels.reshape(16, 4, 24, 4, 3).mean(axis=(1, 3))
    assert np.abs(area_resize(pixels, 24, 16) - means).max() <= 0.5


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 40), st.floats(1.001, 3.9), st.sampled_from([4, 6, 8, 12]), st.integers(0, 99))
def test_higher_orders_are_differences_of_interpolated_sums(size, factor, order, seed):
    """The running sum by scipy's polynomial through the places round each edge, in float64."""
    span = size * factor
    pixels = np.random.default_rng(seed).integers(0, 256, (int(np.ceil(span)), 3), np.uint8)
    mirrored = np.concatenate([pixels[:1].repeat(order, 0), pixels, pixels[-1:].repeat(order, 0)])  # the edge goes on
    sums = np.concatenate([np.zeros((1, 3)), np.cumsum(mirrored.astype(float), axis=0)])
    edges = []
    for at in np.arange(size + 1) * (span / size) + order:
        low = min(int(at + 1e-9), len(pixels) - 1 + order) - order // 2 + 1
        edges.append(BarycentricInterpolator(np.arange(order), sums[low : low + order])(at - low))
    expected = np.clip(np.diff(np.array(edges), axis=0) / factor, 0, 255)
    resized = _shrink(pixels, span, size, order)
    assert np.abs(resized - expected).max() <= 0.5 + 255 * 16 / 128 / 8  # weights are 128ths
    assert np.abs(resized - expected).mean() <= 2


@pytest.mark.parametrize("order", [4, 6, 8, 12])
def test_overshoot_is_cut_and_never_wraps(order):
    stripes = np.where(np.arange(300) // 3 % 2, 255, 0).astype(np.uint8)
    pixels = np.broadcast_to(stripes[:, None, None], (300, 300, 3)).copy()
    resized, plain = area_resize(pixels, 250, 250, 300.0, order), area_resize(pixels, 250, 250, 300.0)
    assert np.abs(resized.astype(int) - plain).max() < 100
    assert (resized[plain == 255] >= 200).all()
    assert (resized[plain == 0] <= 55).all()


def test_the_order_rises_with_what_was_averaged_before():
    assert [sharp_order(1, 1.9), sharp_order(2, 1.2), sharp_order(2, 1.5), sharp_order(2, 1.51)] == [2, 6, 8, 4]
    assert [sharp_order(4, 1.2), sharp_order(16, 1.9)] == [12, 8]
