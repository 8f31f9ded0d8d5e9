"""Which directories are levels: by the fast path, and by OpenSlide, which is told the same."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_core.errors import EvaError
from eva_vision.slides import open_slide
from eva_vision.slides.build_index import index_slide
from eva_vision.slides.reading.openslide import OpenSlideSlide
from eva_vision.slides.reading.tiff import TiffSlide
from eva_vision.slides.reading.verify import agrees
from eva_vision.synthetic.slides import phantom_tissue
from tests.vision.slides.tiffs import aperio_text, flat_page, jpeg_page, write_tiff

IMAGE = phantom_tissue(1200, 800, seed=4)


def smaller(k: int, pixels: np.ndarray = IMAGE) -> np.ndarray:
    height, width = (side // k * k for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels[:height, :width])).reduce(k))


def padded(pixels: np.ndarray, tile: int = 128) -> np.ndarray:
    return np.pad(pixels, [(0, -side % tile) for side in pixels.shape[:2]] + [(0, 0)], constant_values=255)


def sizes(path: Path) -> list[tuple[int, int]]:
    with open_slide(path, mpp=0.25) as slide:
        return [(level.width, level.height) for level in slide.levels]


RED = np.full((216, 640, 3), (200, 40, 40), np.uint8)
OTHERS = {
    "macro": (RED, {"tag254": 9, "tag270": "Aperio Image Library v12.0.15\r\nmacro 640x216"}),
    "macro of the slide's shape": (smaller(2) // 2, {"tag254": 9, "tag270": "Aperio\r\nmacro 600x400"}),
    "label": (RED[:, :200], {"tag254": 1, "tag270": "Aperio Image Library v12.0.15\r\nlabel 200x216"}),
    "label without a word": (RED[:, :200], {"tag254": 1}),
    "mask": (smaller(2), {"tag254": 4}),
    "mask of a level": (smaller(2), {"tag254": 5}),
    "thumbnail": (smaller(2), {"tag254": 1, "tag270": "Aperio\r\nthumbnail of 1200x800"}),
    "thumbnail of Aperio": (smaller(2), {"tag254": 0, "tag270": "Aperio\r\n1200x800 -> 600x400 - |AppMag = 40"}),
    "focal plane": (smaller(2), {"tag254": 0, "tag270": aperio_text(1200, 800) + "|OffsetZ = 2.5"}),
    "plane of the same size": (IMAGE, {"tag254": 0, "tag270": aperio_text(1200, 800)}),
}


@pytest.mark.parametrize("page", [jpeg_page, flat_page])
@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_level_of_an_aperio_slide(tmp_path, other, page):
    pixels, tags = OTHERS[other]
    levels = [page(IMAGE, tag270=aperio_text(1200, 800)), page(smaller(4), tag270=aperio_text(1200, 800))]
    for name, pages in (("good", levels), ("last", [*levels, page(pixels, **tags)]), ("mid", None)):
        pages = pages or [levels[0], page(pixels, **tags), levels[1]]
        write_tiff(tmp_path / f"{name}.svs", pages)
    for name in ("last", "mid"):
        try:
            with open_slide(tmp_path / f"{name}.svs") as slide, open_slide(tmp_path / "good.svs") as good:
                assert slide.levels == good.levels
                for factor in (1, 2, 2.2, 4, 5):
                    where = (300, 200, 96, 0.25 * factor)
                    assert np.array_equal(slide.read(*where), good.read(*where))
                assert agrees(slide)
        except EvaError:  # OpenSlide alone reads deflate, and refuses some of these altogether
            assert page is flat_page


@pytest.mark.parametrize("page", [jpeg_page, flat_page])
def test_what_is_no_level_of_a_pyramid(tmp_path, page):
    levels = [page(IMAGE, mpp=0.25), page(smaller(4), tag254=1)]
    half = smaller(2)
    others: list[dict[str, object]] = [{"tag254": kind} for kind in (0, 2, 4, 5, 9)]
    others += [{"tag254": 3, "tag297": [3, 9]}, {"tag254": 1, "tag270": "Macro image"}]
    for number, tags in enumerate(others):
        path = write_tiff(tmp_path / f"{number}.tif", [levels[0], page(half, **tags), levels[1]])
        assert sizes(path) == [(1200, 800), (300, 200)], tags
    assert sizes(write_tiff(tmp_path / "level.tif", [levels[0], page(half, tag254=1), levels[1]])) == [
        (1200, 800),
        (600, 400),
        (300, 200),
    ]


@pytest.mark.parametrize("page", [jpeg_page, flat_page])
@pytest.mark.parametrize("shape", [(1200, 800), (1000, 1000), (1024, 1024), (1290, 1290)])
def test_levels_padded_to_whole_tiles_are_not_believed(tmp_path, page, shape):
    """Neither where an axis gives it away, nor where both are padded by the same share."""
    image = phantom_tissue(*shape, seed=2)
    pages = [page(image, mpp=0.25)] + [page(padded(smaller(k, image)), tag254=1) for k in (2, 4, 8)]
    with open_slide(write_tiff(tmp_path / "padded.tif", pages)) as slide:
        for level in slide.levels[1:]:
            assert (level.downsample * level.width, level.downsample * level.height) == shape  # it was no padding
        for mpp in (0.25, 0.5, 1.0, 2.0):
            k = round(mpp / 0.25)
            patch = slide.read_patch(160, 240, 64, mpp)
            true = smaller(k, image)[240 // k : 240 // k + 64, 160 // k : 160 // k + 64]
            assert np.abs(patch.pixels.astype(int) - true).mean() < 6


def test_the_first_directory_is_level_0_or_nothing_is(tmp_path):
    """A smaller one is not taken for it, at its mpp."""
    path = write_tiff(tmp_path / "a.tif", [jpeg_page(smaller(2), mpp=0.25), jpeg_page(IMAGE, tag254=1)])
    assert sizes(path) == [(600, 400)]


def test_an_index_compares_what_openslide_refuses_for_its_macro(tmp_path):
    text = aperio_text(1200, 800)
    pages = [jpeg_page(IMAGE, tag270=text), jpeg_page(smaller(4), tag270=text), jpeg_page(smaller(2), tag254=9)]
    path = write_tiff(tmp_path / "macro.svs", pages)
    with pytest.raises(EvaError, match="OpenSlide reads"):
        OpenSlideSlide(str(path))
    entry = index_slide(str(path), "hsv", None).entry
    assert (entry["reader"], entry["agreed"], entry["levels"]) == ("tiff", True, ((1200, 800), (300, 200)))


def channels(n: int, dtype: str = "u1") -> np.ndarray:
    return np.dstack([IMAGE[:256, :256, :1]] * n).astype(dtype)


@pytest.mark.parametrize(
    ("pixels", "tags", "held"),
    [
        (channels(4), {}, "RGB of 4 samples of 8 bits, of which some have no meaning"),
        (channels(4), {"tag338": 0}, "RGB of 4 samples of 8 bits, of which some have no meaning"),
        (channels(5), {"tag338": [0, 0]}, "RGB of 5 samples"),
        (channels(5), {"tag338": [2, 0]}, "RGB of 5 samples"),
        (channels(2), {"tag262": 1, "tag338": 0}, "grey of 2 samples"),
        (channels(1), {"tag262": 1}, "grey of 1 sample of 8 bits"),
        (channels(1), {"tag262": 0}, "grey of 1 sample of 8 bits"),
        (channels(1), {"tag262": 3, "tag320": [257 * n for n in range(256)] * 3}, "a palette of 1 sample"),
        (channels(4), {"tag262": 5}, "CMYK of 4 samples of 8 bits"),
        (channels(3), {"tag262": 8}, "CIELab of 3 samples"),
        (channels(3, "<u2") * 16, {}, "RGB of 3 samples of 16 bits"),
        (channels(1, "<u2"), {"tag262": 1}, "grey of 1 sample of 16 bits"),
        (channels(3, "<f4"), {"tag339": [3, 3, 3]}, "RGB of 3 floating-point samples of 32 bits"),
        (channels(3, "i1"), {"tag339": [2, 2, 2]}, "RGB of 3 signed samples of 8 bits"),
    ],
)
def test_what_is_no_8_bit_rgb_is_refused(tmp_path, pixels, tags, held):
    path = write_tiff(tmp_path / "a.tif", [flat_page(pixels, mpp=0.25, **tags)])
    with pytest.raises(EvaError, match=rf"Expected RGB of 8 bits in .*a\.tif, but it holds {held}") as told:
        open_slide(path).read(0, 0, 64, 0.25)
    assert "\n" not in str(told.value)


def test_a_lower_level_that_is_no_rgb_is_refused(tmp_path):
    path = write_tiff(
        tmp_path / "a.tif", [flat_page(IMAGE, mpp=0.25), flat_page(smaller(2)[..., :1], tag254=1, tag262=1)]
    )
    with pytest.raises(EvaError, match="grey of 1 sample"):
        open_slide(path)


def test_planes_apart_are_rgb_all_the_same(tmp_path):
    tags, _ = flat_page(IMAGE[:256, :256], mpp=0.25, tag284=2)
    tiles = [tile for c in range(3) for tile in flat_page(IMAGE[:256, :256, c : c + 1])[1]]
    with open_slide(write_tiff(tmp_path / "a.tif", [(tags, tiles)])) as slide:
        assert np.array_equal(slide.read(30, 40, 100, 0.25), IMAGE[40:140, 30:130])


@pytest.mark.parametrize("kind", [1, 2])
def test_opacity_is_laid_over_white(tmp_path, kind):
    """Associated (colours times opacity) or not."""
    alpha = np.linspace(0, 255, 256).astype(np.uint8)[None, :, None].repeat(256, 0)
    rgb = IMAGE[:256, :256]
    stored = (rgb * (alpha / 255)).round().astype(np.uint8) if kind == 1 else rgb
    path = write_tiff(tmp_path / "a.tif", [flat_page(np.dstack([stored, alpha]), mpp=0.25, tag338=kind)])
    with open_slide(path) as slide:
        seen = slide.read(0, 0, 256, 0.25).astype(int)
    assert np.abs(seen - (rgb * (alpha / 255) + 255 - alpha)).max() <= 3


def test_the_fast_path_takes_levels_of_tiles_alone(tmp_path):
    path = write_tiff(tmp_path / "a.tif", [jpeg_page(IMAGE, mpp=0.25), jpeg_page(smaller(4), tag254=1)])
    with open_slide(path) as slide:
        assert isinstance(slide, TiffSlide)
        assert agrees(slide)
