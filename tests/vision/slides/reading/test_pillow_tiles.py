"""Levels of odd size in TIFFs of any compression, pixel for pixel; what is not as OpenSlide reads it is left to it."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from eva_core.errors import EvaError
from eva_vision.slides import open_slide
from eva_vision.slides.reading.openslide import OpenSlideSlide
from eva_vision.synthetic.slides import phantom_tissue
from tests.vision.slides.tiffs import Page, aperio_text, flat_page, write_tiff

FULL = np.full((601, 803, 3), 255, np.uint8)
SMALL = phantom_tissue(401, 300, seed=6)
TILE = 128


def strip(tile: np.ndarray, compression: str) -> bytes:
    """What libtiff makes of a tile."""
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "TIFF", compression=compression, tiffinfo={278: TILE})
    with Image.open(io.BytesIO(file.getvalue())) as image:
        (start,), (count,) = image.tag_v2[273], image.tag_v2[279]
    return file.getvalue()[start : start + count]


def codestream(tile: np.ndarray, mode: str) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(tile)
    if mode == "YCbCr":  # stored as if it were RGB, as Aperio has it
        image = Image.merge("RGB", image.convert("YCbCr").split())
    image.save(file, "JPEG2000", no_jp2=True, mct=0)
    return file.getvalue()


def page(pixels: np.ndarray, compression: int, encode: Callable[[np.ndarray], bytes], **tags: object) -> Page:
    known, _ = flat_page(pixels, TILE, 0.25, tag259=compression, **tags)
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % TILE), (0, -width % TILE), (0, 0)), "edge")
    corners = [(y, x) for y in range(0, height, TILE) for x in range(0, width, TILE)]
    return known, [encode(np.ascontiguousarray(padded[y : y + TILE, x : x + TILE])) for y, x in corners]


def predicted(tile: np.ndarray) -> bytes:
    left = np.concatenate([np.zeros_like(tile[:, :1]), tile[:, :-1]], axis=1)
    return strip(tile - left, "tiff_adobe_deflate")


WAYS = {
    "none": (1, lambda tile: tile.tobytes(), {}),
    "LZW": (5, lambda tile: strip(tile, "tiff_lzw"), {}),
    "packbits": (32773, lambda tile: strip(tile, "packbits"), {}),
    "deflate": (8, lambda tile: strip(tile, "tiff_adobe_deflate"), {}),
    "old deflate": (32946, lambda tile: strip(tile, "tiff_adobe_deflate"), {}),
    "deflate of differences": (8, predicted, {"tag317": 2}),
    "JPEG 2000": (33005, lambda tile: codestream(tile, "RGB"), {"tag270": aperio_text(803, 601)}),
    "JPEG 2000 of YCbCr": (33003, lambda tile: codestream(tile, "YCbCr"), {"tag270": aperio_text(803, 601)}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_level_is_read_as_it_is_stored(tmp_path, way):
    compression, encode, tags = WAYS[way]
    pages = [page(FULL, compression, encode, **tags), page(SMALL, compression, encode, tag254=1, **tags)]
    if "tag270" in tags:
        pages[1][0][254] = 0
    with open_slide(write_tiff(tmp_path / "a.tif", pages)) as slide:
        assert isinstance(slide, OpenSlideSlide)
        assert not slide.steps[1].is_integer()
        for x, y in ((0, 0), (37, 61), (290, 190), (130, 100)):
            patch = slide.read_patch(2 * x, 2 * y, 100, 0.5)
            assert patch.level == 1
            error = np.abs(patch.pixels.astype(int) - SMALL[y : y + 100, x : x + 100])
            assert error.max() <= (0 if "YCbCr" not in way else 4)
        assert slide._as_stored(1) is not None
        edge = slide.read_patch(2 * 350, 2 * 250, 100, 0.5).pixels
        assert (edge[50:] == 255).all()
        assert (edge[:, 51:] == 255).all()


def test_what_is_not_as_openslide_reads_it_is_left_to_openslide(tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "a.tif", [flat_page(FULL, mpp=0.25), flat_page(SMALL, tag254=1)])
    monkeypatch.setattr(
        "eva_vision.slides.reading.pillow_tiles.StoredLevel._decoded",
        lambda self, stream: np.zeros((128, 128, 3), "u1"),
    )
    with open_slide(path) as slide:
        assert np.abs(slide.read(200, 160, 100, 0.5).astype(int) - SMALL[80:180, 100:200]).max() <= 3
        assert slide._as_stored(1) is None


def test_a_level_with_holes_is_left_to_openslide(tmp_path):
    tags, tiles = flat_page(SMALL, tag254=1)
    path = write_tiff(tmp_path / "a.tif", [flat_page(FULL, mpp=0.25), (tags, [b"", *tiles[1:]])])
    with open_slide(path) as slide:
        assert slide._as_stored(1) is None
        assert np.abs(slide.read(400, 300, 90, 0.5).astype(int) - SMALL[150:240, 200:290]).max() <= 3


@pytest.mark.parametrize("bad", [0, 5])
def test_a_bad_tile_of_such_a_level_spoils_no_other(tmp_path, bad):
    """Also where it is the one that the two are compared by."""
    tags, tiles = flat_page(SMALL, tag254=1)
    tiles[bad] = struct.pack("<I", 7) * 40
    path = write_tiff(tmp_path / "a.tif", [flat_page(FULL, mpp=0.25), (tags, tiles)])
    row, column = divmod(bad, 4)
    x, y = column * 128 + 30, row * 128 + 30
    with open_slide(path) as slide:
        for _ in range(2):
            assert np.abs(slide.read(520, 40, 80, 0.5).astype(int) - SMALL[20:100, 260:340]).max() <= 3
            with pytest.raises(EvaError, match=r"Could not read .*a\.tif"):
                slide.read(2 * x, 2 * y, 40, 0.5)
