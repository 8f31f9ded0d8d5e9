"""Patches of a slide: against another implementation of the published rules, by OpenSlide and loops."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import openslide
import pytest

from eva_core.errors import EvaError
from eva_vision.slide_level.bags.places import Places, choose_places, refuse_coarse
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slides import open_slide
from eva_vision.slides.reading.openslide import over_white
from eva_vision.slides.tissue_detection import tissue_mask
from eva_vision.synthetic.slides import write_phantom_slide, write_slide
from tests.conftest import picture
from tests.vision.slide_level.conftest import MPP, SIDE
from tests.vision.slide_level.conftest import write_slide as write_noise

REAL = Path(str(files("eva_vision") / "slides/example/CMU-1-Small-Region.svs"))


def level(mpp: float, size: int = 224, patches: int = 10**6) -> SlideLevel:
    return SlideLevel(reading="level", mpp=mpp, size=size, patches=patches, tissue=0.35)


def opencv_saturation(rgb: np.ndarray) -> np.ndarray:
    """Saturation of uint8 pixels, as OpenCV computes it: in integers, by a table of 255 / V in 1 / 4096."""
    table = [0, *(round((255 << 12) / v) for v in range(1, 256))]
    value, spread = rgb.max(2).astype(int), np.ptp(rgb, axis=2).astype(int)
    return (spread * np.array(table)[value] + (1 << 11)) >> 12


def published(path: Path, mpp: float, size: int, most: int) -> tuple[list[tuple[int, int]], int, int, int]:
    """Corners on level 0 in the published order, the level to read, the side of a patch there and on level 0."""
    with openslide.OpenSlide(path) as slide:
        x_mpp, y_mpp = (float(slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy")
        mpps = (x_mpp + y_mpp) / 2 * np.array(slide.level_downsamples)
        read = max((n for n, m in enumerate(mpps) if m <= mpp), key=lambda n: mpps[n], default=0)
        shown = next(n for n in reversed(range(len(mpps))) if int(mpp / mpps[n] * size) ** 2 >= 9)
        pixels = over_white(slide.read_region((0, 0), shown, slide.level_dimensions[shown]))
        foreground = opencv_saturation(pixels) > 20
        width, height = slide.dimensions
        scale = [a / b for a, b in zip(slide.dimensions, slide.level_dimensions[shown], strict=True)]
    side = int(mpp / mpps[0] * size)
    corners = []
    for x in range(0, width, side):  # x outermost
        for y in range(0, height, side):
            if x + side <= width and y + side <= height:
                corners.append((x, y))
    order = np.arange(len(corners)).tolist()
    np.random.default_rng(42).shuffle(order)
    kept: list[tuple[int, int]] = []
    for n in order:
        if len(kept) >= most:
            break
        x, y = corners[n]
        left, top = int(x / scale[0]), int(y / scale[1])
        square = foreground[top : top + int(side / scale[1]), left : left + int(side / scale[0])]
        if np.count_nonzero(square) >= 0.35 * square.size:
            kept.append((x, y))
    return kept, read, int(mpp / mpps[read] * size), side


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three levels by 4, whose sizes are no multiples of each other's."""
    return write_phantom_slide(tmp_path_factory.mktemp("s") / "p.svs", 2075, 1543, seed=3, mpp=0.243, levels=3)


@pytest.mark.parametrize(
    ("mpp", "size", "most"),
    [(0.25, 64, 10**6), (0.25, 64, 40), (0.5, 32, 25), (1.0, 17, 10**6), (4.2, 16, 10**6), (0.25, 7, 500)],
)
def test_the_level_as_it_is_has_the_published_patches(phantom: Path, mpp: float, size: int, most: int):
    corners, read, pixels, side = published(phantom, mpp, size, most)
    with open_slide(phantom) as slide:
        places = choose_places(slide, None, level(mpp, size, most), "any")
        assert sorted(map(tuple, places.coords.tolist())) == sorted(corners)
        assert (places.level, places.pixels, places.side) == (read, pixels, side)
        assert 0 < len(corners) < (2075 // side) * (1543 // side)
        image = next(places.read(slide, [0]))
    assert image.shape == (pixels, pixels, 3)
    if read == 0:
        with openslide.OpenSlide(phantom) as other:
            region = over_white(other.read_region(tuple(places.coords[0].tolist()), 0, (pixels, pixels)))
        assert np.abs(image.astype(int) - region).max() <= 3  # two JPEG decoders


@pytest.mark.parametrize("path", [REAL])
@pytest.mark.parametrize("most", [20, 10**6])
def test_a_real_slide_has_the_published_patches(path: Path, most: int):
    corners, read, pixels, side = published(path, 0.5, 224, most)
    with open_slide(path) as slide:
        places = choose_places(slide, None, level(0.5, patches=most), "any")
    assert sorted(map(tuple, places.coords.tolist())) == sorted(corners)
    assert (places.level, places.pixels, places.side) == (read, pixels, side) == (0, 224, 224)
    assert len(corners) >= 20


def test_a_patch_of_a_finer_level_is_as_wide_as_asked(phantom: Path):
    with open_slide(phantom) as slide:
        places = choose_places(slide, None, level(0.25), "any")
    assert (places.pixels, places.level) == (230, 0)
    assert places.mpp * places.pixels == pytest.approx(224 * 0.25, rel=0.005)


def test_a_slide_somewhat_coarser_is_read_and_a_much_coarser_one_is_named(tmp_path: Path):
    pixels = picture(0, size=600)
    for mpp, side in ((0.5032, 222), (0.54, 207)):
        with open_slide(write_slide(tmp_path / "a.svs", pixels, mpp)) as slide:
            assert choose_places(slide, None, level(0.5), "any").pixels == side
    with (
        open_slide(write_slide(tmp_path / "b.svs", pixels, 0.7)) as slide,
        pytest.raises(EvaError, match=r"Expected 0\.5 micrometres per pixel or finer, but b\.svs has 0\.7"),
    ):
        refuse_coarse(slide, level(0.5))


@pytest.mark.parametrize("reading", ["exact", "level"])
def test_glass_has_no_patches_and_a_slide_smaller_than_a_patch_neither(tmp_path: Path, reading: str):
    section = SlideLevel(reading=reading, mpp=0.5, size=64, tissue=0.35)  # type: ignore[arg-type]
    glass = write_slide(tmp_path / "glass.svs", np.full((300, 300, 3), 245, np.uint8), 0.5)
    small = write_slide(tmp_path / "small.svs", picture(0, size=40), 0.5)
    for path in (glass, small) if reading == "level" else (glass,):
        with open_slide(path) as slide:
            places = choose_places(slide, tissue_mask(slide) if reading == "exact" else None, section, "any")
        assert places.coords.shape == (0, 2)
        assert places.candidates == 0


# Tissue on the left half.

SECTION = SlideLevel(mpp=1.0, size=64, patches=100, tissue=0.4)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tissue on the left half."""
    return write_noise(tmp_path_factory.mktemp("half") / "half.tif", (190, 90, 160), 0, share=0.5)


def test_the_grid_covers_the_tissue_at_the_mpp(half: Path):
    with open_slide(half) as slide:
        places = choose_places(slide, tissue_mask(slide), SECTION, "x")
        cell = 64 * 1.0 / MPP
        columns = {int(x) for x, _ in places.coords}
        assert (places.side, places.mpp, places.level) == (cell, 1.0, None)
        assert len(places.coords) == places.candidates == 2 * (SIDE // int(cell))
        assert columns == {0, int(cell)}
        assert next(places.read(slide, [0])).shape == (64, 64, 3)


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
        assert (places.level, places.mpp, places.side, places.pixels) == (0, MPP, 76, 76)
        assert {int(x) for x, _ in places.coords} == {0, 76, 152}
        assert np.array_equal(next(places.read(slide, [0])), slide.region(0, 1, *places.coords[0].tolist(), 76, 76))


def test_a_slide_that_is_too_coarse_is_refused(half: Path):
    with open_slide(half) as slide, pytest.raises(EvaError, match=r"Expected 0\.25 micrometres per pixel or finer"):
        refuse_coarse(slide, SlideLevel(mpp=0.25))


# Exactly the mpp.


def exact(path: Path, identity: str, patches: int) -> Places:
    with open_slide(path) as slide:
        section = SlideLevel(mpp=0.5, size=64, patches=patches, tissue=0.4)
        return choose_places(slide, tissue_mask(slide), section, identity)


def test_a_grid_over_the_tissue_is_chosen_by_the_slide_alone(phantom: Path):
    every = exact(phantom, "one", 10**6)
    cell = 64 * 0.5 / 0.243
    assert every.side == pytest.approx(cell)
    assert (every.pixels, every.mpp, every.level) == (64, 0.5, None)
    assert np.abs(every.coords / cell - np.rint(every.coords / cell)).max() < 0.5 / cell + 1e-9
    some = exact(phantom, "one", 10)
    assert some.candidates == every.candidates == len(every.coords) > 20
    assert len(some.coords) == 10
    assert {*map(tuple, some.coords)} < {*map(tuple, every.coords)}
    assert np.array_equal(some.coords, exact(phantom, "one", 10).coords)
    assert not np.array_equal(some.coords, exact(phantom, "two", 10).coords)
    assert {*map(tuple, exact(phantom, "one", 5).coords)} < {*map(tuple, some.coords)}


def test_patches_are_read_at_exactly_the_mpp(phantom: Path):
    places = exact(phantom, "one", 3)
    with open_slide(phantom) as slide:
        x, y = places.coords[1].tolist()
        assert np.array_equal(next(places.read(slide, [1])), slide.read(x, y, 64, 0.5))
