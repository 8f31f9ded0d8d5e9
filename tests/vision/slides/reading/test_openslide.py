"""What OpenSlide reads: levels as they are, and one bad tile that is one bad tile."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_vision.slides import open_slide
from eva_vision.slides.reading.openslide import OpenSlideSlide, unshifted
from eva_vision.synthetic.slides import phantom_tissue
from tests.vision.slides.tiffs import flat_page, write_tiff

RNG = np.random.default_rng(1)


def noisy(height: int, width: int) -> np.ndarray:
    tissue = phantom_tissue(width, height, seed=3).astype(int)
    return np.clip(tissue + RNG.normal(0, 15, (height, width, 1)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("full", "level"),
    [((1603, 1201), (801, 600)), ((1603, 1200), (801, 600)), ((1600, 1201), (800, 601)), ((2411, 1203), (602, 300))],
)
def test_a_level_of_odd_size_is_read_as_it_is(tmp_path, full, level):
    """OpenSlide takes its scale for 2.0004, and paints between its pixels: a tenth of the gradients would go."""
    small = noisy(level[1], level[0])
    white = np.full((full[1], full[0], 3), 255, np.uint8)
    path = write_tiff(tmp_path / "odd.tif", [flat_page(white, mpp=0.25), flat_page(small, tag254=1)])
    with open_slide(path) as slide:
        assert isinstance(slide, OpenSlideSlide)
        k = int(slide.levels[1].downsample)
        assert not slide.steps[1].is_integer()
        for x, y in [(100, 60), (301, 77), (level[0] - 128, level[1] - 128), (402, 150), (0, 0)]:
            patch = slide.read_patch(k * x, k * y, 128, 0.25 * k)
            assert (patch.level, patch.x, patch.y) == (1, k * x, k * y)
            error = np.abs(patch.pixels.astype(int) - small[y : y + 128, x : x + 128])
            assert error.max() <= 3
            assert error.mean() < 0.5
        beyond = slide.read_patch(k * (level[0] - 64), -k * 64, 128, 0.25 * k).pixels
        assert (beyond[:64] == 255).all()
        assert (beyond[:, 64:] == 255).all()
        assert np.abs(beyond[64:, :64].astype(int) - small[:64, -64:]).max() <= 3
        whole = slide.region(1, 1, 0, 0, *level)
        assert np.abs(whole.astype(int) - small).max() <= 3


def test_large_regions_of_odd_levels_lie_right(tmp_path, monkeypatch):
    """OpenSlide rounds the place of each part of a large region by itself."""
    monkeypatch.setattr("eva_vision.slides.reading.openslide._PIECE", 200)
    small = noisy(300, 501)
    white = np.full((601, 1003, 3), 255, np.uint8)
    with open_slide(
        write_tiff(tmp_path / "odd.tif", [flat_page(white, mpp=0.25), flat_page(small, tag254=1)])
    ) as slide:
        assert np.abs(slide.region(1, 1, -7, -9, 520, 320)[9:309, 7:508].astype(int) - small).max() <= 3


@pytest.mark.parametrize("value", [0, 1, 100, 254, 255])
def test_plain_areas_stay_as_they_are(value):
    plain = np.full((40, 40, 3), value, np.uint8)
    assert np.array_equal(unshifted(plain, 0.2, -0.3)[10:-10, 10:-10], plain[10:-10, 10:-10])


@pytest.fixture
def one_bad(tmp_path):
    """A slide with a damaged tile, 1, 1 of tiles of 128 px; and its pixels."""
    image = phantom_tissue(640, 512, seed=1)
    tags, tiles = flat_page(image, mpp=0.25)
    tiles[6] = bytes(len(tiles[6]))
    return write_tiff(tmp_path / "bad.tif", [(tags, tiles)]), image


BAD, GOOD = (150, 150, 60, 0.25), (300, 300, 60, 0.25)


def good(image: np.ndarray) -> np.ndarray:
    return image[300:360, 300:360]


def test_one_bad_tile_spoils_no_other(one_bad):
    path, image = one_bad
    with open_slide(path) as slide:
        for _ in range(3):
            with pytest.raises(EvaError, match=r"Could not read 60 x 60 px at 150, 150 .*bad\.tif"):
                slide.read(*BAD)
            assert np.array_equal(slide.read(*GOOD), good(image))
        with pytest.raises(EvaError, match="at 150, 150"):
            slide.read_many([GOOD, BAD])
        assert np.array_equal(slide.read_many([GOOD])[0].pixels, good(image))


def test_threads_that_share_a_slide_do_not_fail_each_other(one_bad):
    path, image = one_bad
    barrier = threading.Barrier(4)

    def read(place):
        barrier.wait()
        try:
            return slide.read(*place)
        except EvaError as error:
            return str(error)

    with open_slide(path) as slide, ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            bad, *others = pool.map(read, [BAD, GOOD, GOOD, GOOD])
            assert "at 150, 150" in bad
            assert all(np.array_equal(other, good(image)) for other in others)


def test_errors_leak_no_files(one_bad):
    path, _ = one_bad
    with open_slide(path) as slide:
        before = None
        for _ in range(8):
            with pytest.raises(EvaError):
                slide.read(*BAD)
            before = before or len(os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_closed_slide_is_not_opened_again(one_bad):
    slide = open_slide(one_bad[0])
    slide.close()
    with pytest.raises(EvaError, match=r"was closed\. Open it again"):
        slide.read(*GOOD)


def test_a_slide_that_is_gone_says_so(one_bad):
    path, _ = one_bad
    with open_slide(path) as slide:
        path.unlink()
        with pytest.raises(EvaError, match=r"bad\.tif"):
            slide.read(*BAD)
