import math

import numpy as np
import pytest

from eva_vision.shifts.optics import blur, disc, kernel, mpp_error
from eva_vision.shifts.severity import difference
from tests.conftest import picture


@pytest.mark.parametrize("radius", [0.7, 2.3, 5.0])
def test_a_disc_has_the_spread_of_an_even_disc(radius: float):
    weights = disc(radius)
    at = np.arange(len(weights)) - len(weights) // 2
    # second moment along one axis: r^2 / 4 of the disc, and 1 / 12 of the square pixel that it is measured by
    assert (weights * at[:, None] ** 2).sum() == pytest.approx(radius**2 / 4 + 1 / 12, abs=0.03)
    assert weights.sum() == pytest.approx(1)
    assert np.allclose(weights, weights.T)


def test_a_point_out_of_focus_becomes_the_disc_that_the_objective_makes():
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 255
    changed = blur(image, 2.0, mpp=0.5).astype(float)
    radius = 2.0 * 0.75 / math.sqrt(1 - 0.75**2) / 0.5  # tan of an angle by its sine
    inside = np.hypot(*np.mgrid[-20:21, -20:21]) < radius - 1
    outside = np.hypot(*np.mgrid[-20:21, -20:21]) > radius + 1
    assert changed[inside] == pytest.approx(255 / (math.pi * radius**2), abs=0.6)
    assert (changed[outside] == 0).all()


def test_an_even_image_stays_and_focus_is_worse_the_farther_it_is_off():
    even = np.full((16, 20, 3), (200, 10, 90), np.uint8)
    assert (blur(even, 3.0, mpp=0.5) == even).all()
    image = picture(0)
    assert (blur(image, 0.0, mpp=0.5) == image).all()
    differences = [difference(image, blur(image, z, mpp=0.5)) for z in (0.5, 1.0, 2.0)]
    assert differences == sorted(differences)
    assert (blur(image, 1.0, mpp=0.5) == blur(image, 0.5, mpp=0.25)).all()  # as many pixels


def test_tissue_at_another_magnification_is_larger_or_smaller():
    image = np.zeros((60, 60, 3), np.uint8)
    image[20:40, 20:40] = 255  # a square of 20 pixels
    assert (mpp_error(image, 0.0) == image).all()
    for error in (-0.2, 0.25):
        changed = mpp_error(image, error)
        assert changed.shape == image.shape
        side = math.sqrt((changed[15:45, 15:45, 0] / 255).sum())
        assert side == pytest.approx(20 / (1 + error), abs=0.5)


def test_each_kernel_gives_another_image_of_the_same_size():
    image = picture(0, size=33)
    changed = [kernel(image, name) for name in ("lanczos", "bilinear", "nearest")]
    assert all(one.shape == image.shape for one in changed)
    assert len({one.tobytes() for one in changed}) == 3
