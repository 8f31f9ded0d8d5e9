"""Chains of directories that are damaged or malicious: an error at once, whatever they say of themselves."""

import io
import struct
import time
from contextlib import suppress

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_vision.slides import open_slide
from eva_vision.slides.reading.tiff_directories import read_tiff
from tests.vision.slides.tiffs import flat_page, jpeg_page, write_tiff

IMAGE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
KINDS = [("<", False), (">", False), ("<", True), (">", True)]


@pytest.mark.parametrize(("order", "big"), KINDS)
def test_values_are_read_in_either_order_of_bytes(tmp_path, order, big):
    path = write_tiff(tmp_path / "a.tif", [jpeg_page(IMAGE, mpp=0.25), flat_page(IMAGE, tag254=1)], order, big)
    with path.open("rb") as file:
        tiff = read_tiff(file, "a.tif")
        first, second = tiff.directories
        assert (tiff.number(first, 256, 0), tiff.number(first, 257, 0), tiff.number(second, 254, 0)) == (300, 200, 1)
        assert tiff.numbers(first, 258).tolist() == [8, 8, 8]
        assert tiff.numbers(first, 282).tolist() == [40_000.0]
        assert tiff.number(first, 9999, 7) == 7
    with open_slide(path) as slide:
        assert slide.mpp == 0.25
        assert np.abs(slide.read(10, 20, 100, 0.25).astype(int) - IMAGE[20:120, 10:110]).mean() < 30


@pytest.mark.parametrize(("order", "big"), KINDS)
@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_chain_that_comes_back_is_an_error(tmp_path, order, big, last):
    pages = [jpeg_page(IMAGE, mpp=0.25), jpeg_page(IMAGE, tag254=1), flat_page(IMAGE)]
    path = write_tiff(tmp_path / "loop.tif", pages, order, big, last)
    began = time.monotonic()
    with pytest.raises(EvaError, match=r"TIFF directory 3 names an earlier one as the next\. Get it again"):
        open_slide(path)
    assert time.monotonic() - began < 1


def test_subifds_are_not_followed(tmp_path):
    """Neither one that is the directory itself nor one beyond the end."""
    for offset in (8, 2**31):
        with open_slide(write_tiff(tmp_path / "sub.tif", [jpeg_page(IMAGE, mpp=0.25, tag330=[offset] * 9)])) as slide:
            assert len(slide.levels) == 1


def classic(directories: list[bytes], at: int = 8) -> bytes:
    return b"II*\0" + struct.pack("<I", at) + b"".join(directories)


def entry(code: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", code, kind, count, value)


LONG_CHAIN = classic([struct.pack("<H", 1) + entry(254, 4, 1, 0) + struct.pack("<I", 26 + 18 * n) for n in range(3000)])
MANY_TAGS = classic(
    [
        struct.pack("<H", 4000) + b"".join(entry(1000 + k, 4, 1, 0) for k in range(4000))
        + struct.pack("<I", 8 + 48_006 * (n + 1))
        for n in range(20)
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (classic([], at=100), "ends before its TIFF directory 0"),
        (classic([], at=2**32 - 1), "ends before its TIFF directory 0"),
        (classic([struct.pack("<H", 3) + entry(254, 4, 1, 0)]), "ends before its TIFF directory 0 does"),
        (classic([struct.pack("<H", 65_535)]), "has 65,535 tags"),
        (LONG_CHAIN, "more than 1,000 TIFF directories"),
        (MANY_TAGS, "more than 65,536 tags"),
        (b"II+\0\x08\0\0\0", "header is cut"),
        (b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60), "tags"),
        (b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63), "ends before its TIFF directory 0"),
    ],
)
def test_what_a_file_says_of_itself_costs_nothing(content, message):
    began = time.monotonic()
    with pytest.raises(EvaError, match=message):
        read_tiff(io.BytesIO(content), "a.tif")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("code", [256, 258, 270, 282, 322, 324, 325, 330])
def test_tags_longer_than_the_file_are_no_values(tmp_path, code):
    """Whatever is made of the rest, it is made quickly, or refused in a line."""
    content = bytearray(
        write_tiff(tmp_path / "a.tif", [jpeg_page(IMAGE, mpp=0.25, tag330=[8], tag270="x")]).read_bytes()
    )
    (at,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, at)
    places = [at + 2 + 12 * n for n in range(entries)]
    (found,) = [place for place in places if struct.unpack_from("<H", content, place)[0] == code]
    struct.pack_into("<I", content, found + 4, 2**31 - 1)
    (tmp_path / "b.tif").write_bytes(content)
    began = time.monotonic()
    with suppress(EvaError), open_slide(tmp_path / "b.tif", mpp=0.25) as slide:
        assert slide.levels[0].width == 300
    assert time.monotonic() - began < 2


def test_a_tile_of_terabytes_is_refused_before_openslide_wants_to_hold_it(tmp_path):
    path = write_tiff(tmp_path / "a.tif", [flat_page(IMAGE, mpp=0.25, tag322=2**31 - 16)])
    with pytest.raises(EvaError, match="tiles of 2,147,483,632 x 128 px"):
        open_slide(path)


def test_what_is_no_tiff_is_none():
    for content in (b"", b"II", b"nothing at all here", b"II\0\0" + bytes(20), b"MM*\0" + bytes(20)):
        assert read_tiff(io.BytesIO(content), "a") is None
