"""The first rows of a JPEG, without decoding those below."""

import struct

import numpy as np
import simplejpeg

_BASELINE = (0xC0, 0xC1)
"""SOF0 and SOF1: one pass from the top to the bottom, which can stop on its way (T.81, table B.1)."""
_NO_ROWS = (*range(0xC2, 0xC4), *range(0xC5, 0xD0), 0xDA, 0xDD)
"""Other frames, a scan before any frame; restart intervals, whose markers would lie in what is left over."""
_LEFT_OVER = "extraneous bytes before marker 0xd9"
"""How libjpeg warns of data between the last row and the end. It tells the first warning, so there was none before."""


def first_rows(stream: bytes, width: int, height: int, reduce: int, rows: int, buffer: np.ndarray) -> np.ndarray | None:
    """Decode rows from the top of a stream whose header is made to state no more of them; bits are those of the whole.

    A row of blocks further down is decoded along where pixels of the last row depend on it.

    Args:
        stream: A whole JPEG, with its tables.
        width: Its columns in pixels, multiples of `reduce`.
        height: Its rows in pixels.
        reduce: Scale of the decoder: 1, 2, 4 or 8.
        rows: Rows that are wanted, after reduction.
        buffer: Where pixels go, flat uint8, large enough for the whole.

    Returns:
        uint8 (at least `rows`, width / reduce, 3); None where nothing is saved, or the whole stream has to be decoded,
        which also says what is wrong with a damaged one.
    """
    place = _frame(stream)
    if place is None or struct.unpack_from(">HH", stream, place + 5) != (height, width):
        return None
    factors = stream[place + 11 : place + 11 + 3 * stream[place + 9] : 3]
    block = 8 * max((factor & 15 for factor in factors), default=0)
    lines = (rows * reduce // block + 1) * block if block else height
    if lines >= height:
        return None
    short = b"".join((stream[: place + 5], struct.pack(">H", lines), stream[place + 7 :]))
    shape = (lines // reduce, width // reduce, 3)
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(
            short, min_width=shape[1], min_height=shape[0], min_factor=reduce, buffer=buffer
        )
    except ValueError as error:
        if _LEFT_OVER not in str(error):
            return None
        pixels = buffer[: lines // reduce * shape[1] * 3].reshape(shape)  # which is complete when this is noticed
    return pixels if pixels.shape == shape else None


def _frame(stream: bytes) -> int | None:
    """Where the marker of the frame is; None where rows cannot be had one after the other."""
    place = 2
    while place + 10 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker in _BASELINE:
            return place
        if marker in _NO_ROWS:
            return None
        place += 2 + (stream[place + 2] << 8 | stream[place + 3])
    return None
