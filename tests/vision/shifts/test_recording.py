import numpy as np
import pytest

from eva_vision.shifts.recording import brightness, jpeg, noise, white_balance
from eva_vision.shifts.severity import difference
from tests.conftest import picture


def smooth(size: int = 64) -> np.ndarray:
    """A picture with structure of several sizes, as tissue has."""
    y, x = np.mgrid[:size, :size]
    waves = np.stack([np.sin(x / 3 + y / 7), np.cos(y / 5), np.sin(x / 2) * np.cos(y / 9)], -1)
    return (150 + 60 * waves + np.random.default_rng(0).normal(0, 6, (size, size, 3))).clip(0, 255).astype(np.uint8)


def test_lower_jpeg_quality_is_farther_from_the_image():
    image = smooth()
    differences = [difference(image, jpeg(image, quality)) for quality in (95, 80, 60, 40, 20, 5)]
    assert differences == sorted(differences)
    assert 0 < differences[0] < differences[-1]


def test_brightness_and_white_balance_follow_their_formulas():
    image = picture(0, (100, 120, 140))
    assert (brightness(image, 0.0) == image).all()
    assert (white_balance(image, 0.0) == image).all()
    for y, x in ((0, 0), (5, 17), (31, 31)):
        red, green, blue = (int(v) for v in image[y, x])
        assert brightness(image, 0.3)[y, x].tolist() == [min(255, round(v * 1.3)) for v in (red, green, blue)]
        assert white_balance(image, -0.2)[y, x].tolist() == [round(red * 0.8), green, min(255, round(blue * 1.2))]


@pytest.mark.parametrize("sd", [3.0, 12.0])
def test_noise_has_its_standard_deviation(sd: float):
    image = np.full((64, 64, 3), 128, np.uint8)
    changed = noise(image, sd, np.random.default_rng(0)).astype(float) - 128
    assert changed.std() == pytest.approx(sd, rel=0.05)
    assert abs(changed.mean()) < sd / 20
