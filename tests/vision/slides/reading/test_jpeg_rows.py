import struct
from unittest.mock import patch

import numpy as np
import pytest
import simplejpeg

from eva_vision.slides.reading import jpeg_rows
from eva_vision.slides.reading.jpeg_rows import first_rows

SIDE = 128
BLOCK = {"444": 8, "422": 8, "420": 16, "440": 16, "411": 8}
"""Rows of pixels that a row of blocks covers."""


def encoded(subsampling: str = "420") -> bytes:
    coarse = np.random.default_rng(0).integers(0, 256, (SIDE // 4, SIDE // 4, 3), np.uint8)
    fine = np.random.default_rng(1).integers(0, 60, (SIDE, SIDE, 3), np.uint8)
    return simplejpeg.encode_jpeg(coarse.repeat(4, 0).repeat(4, 1) // 2 + fine, 85, colorsubsampling=subsampling)


def by_first_rows(stream: bytes, rows: int, reduce: int = 1) -> np.ndarray | None:
    return first_rows(stream, SIDE, SIDE, reduce, rows, np.full(3 * SIDE * SIDE, 7, np.uint8))


def frame(stream: bytes) -> int:
    return stream.index(b"\xff\xc0")


@pytest.mark.parametrize("subsampling", BLOCK)
@pytest.mark.parametrize("reduce", [1, 2, 4, 8])
def test_they_are_bit_for_bit_those_of_the_whole(subsampling, reduce):
    stream = encoded(subsampling)
    whole = simplejpeg.decode_jpeg(stream, min_factor=reduce, min_height=SIDE // reduce, min_width=SIDE // reduce)
    assert whole.shape == (SIDE // reduce, SIDE // reduce, 3)
    for rows in range(1, SIDE // reduce + 1):
        pixels = by_first_rows(stream, rows, reduce)
        if rows * reduce >= SIDE - BLOCK[subsampling]:
            assert pixels is None  # nothing to be saved
        else:
            assert rows <= len(pixels) <= rows + 16 // reduce
            np.testing.assert_array_equal(pixels[:rows], whole[:rows])


def test_damage_above_is_noticed_and_damage_below_does_no_harm():
    stream = encoded()
    scan = stream.index(b"\xff\xda") + 14
    size = len(stream) - scan
    marker = b"\xff\xd9"  # an end that comes too early is worse than one that comes late
    for place, damaged in ((scan + size // 8, True), (scan + size * 3 // 4, False)):
        pixels = by_first_rows(stream[:place] + marker + stream[place + 2 :], 40)
        assert (pixels is None) is damaged
    below = bytearray(stream)
    below[scan + size * 3 // 4 : scan + size * 3 // 4 + 40] = bytes(range(1, 41))
    np.testing.assert_array_equal(by_first_rows(bytes(below), 40)[:40], simplejpeg.decode_jpeg(stream)[:40])
    with pytest.raises(ValueError, match="Corrupt"):
        simplejpeg.decode_jpeg(bytes(below))
    assert by_first_rows(stream[: scan + size * 3 // 4], 40) is None  # a tile that is cut


def test_the_whole_is_decoded_where_rows_do_not_follow_each_other():
    stream = encoded()
    place = frame(stream)
    restarts = stream[:place] + b"\xff\xdd\x00\x04\x00\x08" + stream[place:]
    for other in (
        restarts,
        stream[:place] + b"\xff\xc2" + stream[place + 2 :],
        stream[: place + 5] + struct.pack(">H", SIDE - 1) + stream[place + 7 :],
        stream[:2] + stream[place + 19 :],
        stream[:2],
        b"",
    ):
        assert by_first_rows(other, 40) is None


def test_another_wording_of_the_decoder_costs_time_alone():
    with patch.object(jpeg_rows, "_LEFT_OVER", "in other words"):
        assert by_first_rows(encoded(), 40) is None
