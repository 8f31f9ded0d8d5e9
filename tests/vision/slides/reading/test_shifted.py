"""A slide under a change: what is decoded, where, and what its patches and thumbnail show."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eva_vision.slides.reading.open import open_slide
from eva_vision.slides.reading.shifted import Scope, ShiftedSlide, SlideShift
from eva_vision.slides.reading.slide import Slide
from tests.vision.slide_level.conftest import write_slide


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[Slide]:
    with open_slide(write_slide(tmp_path / "a.tif", (190, 90, 160), 0)) as opened:
        yield opened


def shift(scope: Scope, change=lambda pixels, where, mpp: 255 - pixels, **more) -> SlideShift:
    return SlideShift(change, scope, {"change": "inverse"}, grid=True, **more)


def test_all_that_is_decoded_is_changed(slide: Slide):
    seen = ShiftedSlide(slide, shift("regions"))
    assert np.array_equal(seen.region(0, 1, 3, 5, 40, 30), 255 - slide.region(0, 1, 3, 5, 40, 30))
    assert np.array_equal(seen.thumbnail(512), 255 - slide.thumbnail(512))
    assert np.array_equal(seen.read(8, 8, 64, 0.5), 255 - slide.read(8, 8, 64, 0.5))
    resized = seen.read(8, 8, 64, 1.0).astype(int)
    assert np.abs(resized - (255 - slide.read(8, 8, 64, 1.0).astype(int))).max() <= 1
    assert seen.mpp == slide.mpp


def test_a_change_is_told_where_it_is_and_how_fine(slide: Slide):
    told: list[tuple[str, float]] = []
    seen = ShiftedSlide(slide, shift("regions", lambda pixels, where, mpp: (told.append((where, mpp)), pixels)[1]))
    seen.read(8, 8, 64, 1.0)
    list(seen.regions([(0, 1, 16, 16, 10, 10)]))
    assert [mpp for _, mpp in told] == [0.5, 0.5]
    assert told[1][0] == "0 1 16 16 10 10"


def test_patches_alone_are_turned_and_the_thumbnail_stays(slide: Slide):
    turn = shift("patches", lambda pixels, where, mpp: np.rot90(pixels))
    seen, places = ShiftedSlide(slide, turn), [(8, 8, 64, 1.0), (100, 40, 64, 1.0)]
    for changed, as_it_is in zip(seen.read_many(places), slide.read_many(places), strict=True):
        assert np.array_equal(changed.pixels, np.rot90(as_it_is.pixels))
        assert (changed.x, changed.y, changed.mpp) == (as_it_is.x, as_it_is.y, as_it_is.mpp)
    assert np.array_equal(seen.read(8, 8, 64, 1.0), np.rot90(slide.read(8, 8, 64, 1.0)))
    level = [(0, 1, 16, 16, 10, 10)]
    assert np.array_equal(next(iter(seen.regions(level))), np.rot90(next(iter(slide.regions(level)))))
    assert np.array_equal(seen.thumbnail(100), slide.thumbnail(100))
    assert not turn.moves_grid


def test_a_wrong_mpp_shows_more_tissue_and_changes_no_pixel(slide: Slide):
    seen = ShiftedSlide(slide, shift("mpp", stretch=1.25))
    assert seen.mpp == slide.mpp / 1.25
    assert np.array_equal(seen.read(8, 8, 64, 0.8), slide.read(8, 8, 64, 1.0))  # at the stated mpp, a wider square
    assert np.array_equal(seen.thumbnail(100), slide.thumbnail(100))
    assert shift("mpp", stretch=1.25).moves_grid


def test_the_key_says_whether_the_grid_moves():
    assert shift("regions").key == {"change": "inverse", "moves_grid": True}
    assert SlideShift(lambda p, w, m: p, "regions", {}, grid=False).key == {"moves_grid": False}
