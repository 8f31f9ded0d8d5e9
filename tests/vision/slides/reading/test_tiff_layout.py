from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva_core.errors import EvaError
from eva_vision.slides.reading.tiff import Layout, layout_of


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**32 - 1)), min_size=6, max_size=6))
def test_any_offsets_survive_bytes(slides, numbers):
    layout = layout_of(slides["single"])
    tiles = layout.tiles[0]
    offsets, counts = (np.array(column).reshape(2, 3) for column in zip(*numbers, strict=True))
    tiles = replace(tiles, width=700, height=500, offsets=offsets.astype(np.uint64), counts=counts.astype(np.uint32))
    again = Layout.from_bytes(replace(layout, tiles=(tiles,)).to_bytes()).tiles[0]
    assert np.array_equal(again.offsets, tiles.offsets)
    assert np.array_equal(again.counts, tiles.counts)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"EVAL\x09" + b[5:], lambda b: b"", lambda b: b[:5] + b"xx"]
)
def test_a_damaged_layout_is_an_error(slides, damage):
    with pytest.raises(EvaError, match="Index the slide again"):
        Layout.from_bytes(damage(layout_of(slides["single"]).to_bytes()))


def test_a_large_layout_is_small():
    """20,000 tiles as a scanner writes them, one after the other."""
    rng = np.random.default_rng(0)
    from eva_vision.slides.reading.tiff_layout import Tiles

    counts = rng.integers(2_000, 20_000, (118, 157)).astype(np.uint32)
    offsets = (np.cumsum(counts) - counts.ravel() + 16).astype(np.uint64).reshape(counts.shape)
    tiles = Tiles(40_000, 30_000, (256, 256), "RGB", b"", offsets, counts)
    assert len(Layout(10**9, 0.25, "aperio", (tiles,)).to_bytes()) < 84_000
