import numpy as np
import pytest

from eva_vision.shifts.contracts import Shift
from eva_vision.shifts.orientation import quarter_turn
from eva_vision.shifts.recording import brightness
from eva_vision.shifts.severity import difference, pixel_differences
from tests.conftest import Pictures


def test_the_mean_difference_of_the_images_at_hand(pictures: Pictures):
    (none, brighter), looked_at = pixel_differences(pictures, [Shift("brightness", brightness, s) for s in (0.0, 0.1)])
    images = [pictures.image(s).astype(float) for s in pictures.samples]
    expected = np.mean([np.abs(np.clip(np.rint(i * 1.1), 0, 255) - i).mean() for i in images])
    assert (none, looked_at) == (0.0, 30)
    assert brighter == pytest.approx(expected)


def test_images_of_other_sides_have_none(pictures: Pictures, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "image", lambda sample: np.zeros((4, 6, 3), np.uint8))
    assert pixel_differences(pictures, [Shift("quarter_turn", quarter_turn, "90")]) == ([None], 30)
    assert difference(np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)) == 255
