from functools import partial

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_vision.shifts.contracts import Shift
from eva_vision.shifts.orientation import quarter_turn
from eva_vision.shifts.recording import brightness
from eva_vision.shifts.severity import difference, pixel_differences


def look(image: np.ndarray, shift: Shift | None) -> np.ndarray:
    return image if shift is None else shift(image, "id", None)


def test_the_mean_difference_of_what_is_looked_at():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (6, 5, 3), np.uint8) for _ in range(3)]
    shifts = [Shift("brightness", brightness, s) for s in (0.0, 0.1)]
    (none, brighter), looked_at = pixel_differences([partial(look, image) for image in images], shifts, "pictures")
    as_floats = [image.astype(float) for image in images]
    expected = np.mean([np.abs(np.clip(np.rint(i * 1.1), 0, 255) - i).mean() for i in as_floats])
    assert (none, looked_at) == (0.0, 3)
    assert brighter == pytest.approx(expected)


def test_images_of_other_sides_have_none_and_unreadable_ones_do_not_count():
    def unreadable(shift: Shift | None) -> np.ndarray:
        raise EvaError("damaged")

    looks = [partial(look, np.zeros((4, 6, 3), np.uint8)), unreadable]
    assert pixel_differences(looks, [Shift("quarter_turn", quarter_turn, "90")], "pictures") == ([None], 1)
    assert difference(np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)) == 255
