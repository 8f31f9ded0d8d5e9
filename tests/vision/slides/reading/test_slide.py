import numpy as np
import pytest

from eva_core.errors import UsageError
from eva_vision.slides.reading.read_plan import Level
from eva_vision.slides.reading.slide import Slide
from tests.conftest import picture

PIXELS = np.tile(picture(0, size=64), (2, 3, 1))  # 128 x 192


class Array(Slide):
    """A slide of one level in memory."""

    def __init__(self) -> None:
        super().__init__("a/b/c.svs/", 0.5, "array", [Level(PIXELS.shape[1], PIXELS.shape[0], 1.0)])
        self.closed = False

    def region(self, level, reduce, left, top, width, height):
        out = np.full((height, width, 3), 255, np.uint8)
        y, x = np.mgrid[top : top + height, left : left + width]
        inside = (y >= 0) & (x >= 0) & (y < PIXELS.shape[0]) & (x < PIXELS.shape[1])
        out[inside] = PIXELS[y[inside], x[inside]]
        return out

    def close(self):
        self.closed = True


def test_native_pixels_come_as_they_are_and_white_beyond_the_border():
    slide = Array()
    assert np.array_equal(slide.read(10, 20, 32, 0.5), PIXELS[20:52, 10:42])
    patch = slide.read_patch(176, 0, 32, 0.5)
    assert np.array_equal(patch.pixels[:, :16], PIXELS[:32, 176:])
    assert (patch.pixels[:, 16:] == 255).all()
    assert (patch.inside, patch.mpp, patch.level) == (0.5, 0.5, 0)


def test_at_half_the_resolution_pixels_are_means_of_four():
    blocks = PIXELS[:64, :64].astype(float).reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(Array().read(0, 0, 32, 1.0) - blocks).max() <= 1


def test_many_are_the_same_as_one_by_one():
    slide, places = Array(), [(0, 0, 16, 0.5), (40, 8, 24, 1.0)]
    for patch, place in zip(slide.read_many(places), places, strict=True):
        assert np.array_equal(patch.pixels, slide.read(*place))


def test_a_thumbnail_keeps_the_shape_and_is_never_enlarged():
    slide = Array()
    assert slide.thumbnail(48).shape == (32, 48, 3)
    assert np.array_equal(slide.thumbnail(1000), PIXELS)
    with pytest.raises(UsageError, match="side to be at least 1, but got 0"):
        slide.thumbnail(0)


def test_a_slide_is_called_by_the_last_part_of_its_path_and_is_closed_after_use():
    with Array() as slide:
        assert slide.name == "c.svs"
        assert not slide.closed
    assert slide.closed


@pytest.mark.parametrize(("size", "mpp"), [(0, 0.5), (16, 0.0), (16, -1.0)])
def test_places_that_make_no_sense_are_refused(size: int, mpp: float):
    with pytest.raises(UsageError):
        Array().read(0, 0, size, mpp)
