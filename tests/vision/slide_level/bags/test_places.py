from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_vision.slide_level.bags.places import choose_places
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slides.reading.open import open_slide
from eva_vision.slides.tissue_detection import tissue_mask
from tests.vision.slide_level.conftest import MPP, SIDE, write_slide

SECTION = SlideLevel(mpp=1.0, size=64, patches=100, tissue=0.4)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tissue on the left half."""
    return write_slide(tmp_path_factory.mktemp("half") / "half.tif", (190, 90, 160), 0, share=0.5)


def test_the_grid_covers_the_tissue_at_the_mpp(half: Path):
    with open_slide(half) as slide:
        places = choose_places(slide, tissue_mask(slide), SECTION, "x")
        cell = 64 * 1.0 / MPP
        columns = {int(x) for x, _ in places.coords}
        assert (places.side, places.mpp, places.level) == (cell, 1.0, None)
        assert len(places.coords) == places.candidates == 2 * (SIDE // int(cell))
        assert columns == {0, int(cell)}
        assert places.read(slide, 0, 64).shape == (64, 64, 3)


def test_the_choice_is_the_slides_own_and_smaller_ones_are_part_of_larger_ones(half: Path):
    with open_slide(half) as slide:
        mask = tissue_mask(slide)

        def chosen(patches: int, identity: str) -> set[tuple[int, int]]:
            section = SlideLevel(mpp=1.0, size=64, patches=patches, tissue=0.4)
            return {(int(x), int(y)) for x, y in choose_places(slide, mask, section, identity).coords}

        assert chosen(3, "x") < chosen(5, "x") < chosen(100, "x")
        assert any(chosen(3, "x") != chosen(3, f"y{n}") for n in range(5))
        assert choose_places(slide, mask, SlideLevel(mpp=1.0, size=64, patches=2), "x").candidates == 8


def test_a_level_is_read_as_it_is(half: Path):
    with open_slide(half) as slide:
        section = SlideLevel(reading="level", mpp=0.6, size=64, patches=100)
        places = choose_places(slide, None, section, "x")
        assert (places.level, places.mpp, places.side) == (0, MPP, 64)
        assert {int(x) for x, _ in places.coords} == {0, 64, 128, 192}
        assert np.array_equal(places.read(slide, 0, 64), slide.region(0, 1, *places.corners[0].tolist(), 64, 64))


def test_a_slide_that_is_too_coarse_is_refused(half: Path):
    with open_slide(half) as slide, pytest.raises(EvaError, match=r"Expected 0\.25 micrometres per pixel or finer"):
        choose_places(slide, tissue_mask(slide), SlideLevel(mpp=0.25), "x")
