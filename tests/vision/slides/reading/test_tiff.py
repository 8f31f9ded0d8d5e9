"""The fast path against OpenSlide, and against files that are damaged."""

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva_core.errors import EvaError
from eva_vision.slides import open_slide
from eva_vision.slides.reading.openslide import OpenSlideSlide
from eva_vision.slides.reading.resample import area_resize
from eva_vision.slides.reading.tiff import Layout, LocalFile, TiffSlide, layout_of
from eva_vision.slides.reading.verify import agrees, psnr
from eva_vision.synthetic.slides import write_phantom_slide
from tests.vision.slides.tiffs import by_layout

VARIANTS = ("ycbcr", "rgb", "single")


@pytest.fixture(scope="module")
def pairs(slides):
    """Both readers of each variant."""
    opened = {name: (open_slide(slides[name]), OpenSlideSlide(str(slides[name]))) for name in (*VARIANTS, "odd")}
    assert all(isinstance(fast, TiffSlide) for fast, _ in opened.values())
    return opened


@settings(deadline=None, max_examples=80)
@given(
    name=st.sampled_from(VARIANTS),
    level=st.integers(0, 1),
    x=st.integers(-300, 2000),
    y=st.integers(-300, 1500),
    size=st.integers(1, 500),
)
def test_at_native_levels_pixel_for_pixel(pairs, name, level, x, y, size):
    fast, other = pairs[name]
    mpp = fast.mpp * fast.levels[min(level, len(fast.levels) - 1)].downsample
    ours, theirs = fast.read_patch(x, y, size, mpp), other.read_patch(x, y, size, mpp)
    assert ours.reduce == 1
    assert np.array_equal(ours.pixels, theirs.pixels)
    assert (ours.x, ours.y, ours.level, ours.inside) == (theirs.x, theirs.y, theirs.level, theirs.inside)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(VARIANTS),
    factor=st.floats(1.0, 16.0),
    x=st.integers(0, 500),
    y=st.integers(0, 300),
    size=st.integers(32, 300),
)
def test_resampled_above_40_db(pairs, name, factor, x, y, size):
    """The same pixels by both readers; where ours let the decoder scale, against the area of whole pixels."""
    fast, other = pairs[name]
    ours = fast.read_patch(x, y, size, fast.mpp * factor)
    if ours.reduce == 1:
        assert psnr(ours.pixels, other.read(x, y, size, fast.mpp * factor)) > 40
        return
    level, k = fast.levels[ours.level], ours.reduce
    native = fast.read_patch(x, y, size, fast.mpp * level.downsample * k)
    if native.inside == 1:
        left, top = round(native.x / level.downsample), round(native.y / level.downsample)
        whole = other.region(native.level, 1, left, top, size * k, size * k)
        assert psnr(native.pixels, area_resize(whole, size, size)) > 40


@settings(deadline=None, max_examples=30)
@given(level=st.integers(0, 2), x=st.integers(-50, 1900), y=st.integers(-50, 1400), size=st.integers(60, 300))
def test_levels_of_odd_sizes_lie_right(pairs, level, x, y, size):
    """Their downsample is no whole number to OpenSlide, which places them between pixels."""
    fast, other = pairs["odd"]
    mpp = fast.mpp * fast.levels[level].downsample
    ours, theirs = fast.read_patch(x, y, size, mpp), other.read_patch(x, y, size, mpp)
    if ours.inside == 1:
        assert psnr(ours.pixels, theirs.pixels) > 28
    assert fast.levels == other.levels


def test_many_are_the_same_as_one_by_one(pairs):
    fast, other = pairs["ycbcr"]
    rng = np.random.default_rng(0)
    places = [(*rng.integers(-50, 1500, 2).tolist(), 64, float(rng.uniform(0.2, 4))) for _ in range(50)]
    for place, many, single in zip(places, fast.read_many(places), [fast.read_patch(*p) for p in places], strict=True):
        assert np.array_equal(many.pixels, single.pixels)
        assert many.mpp == place[3]
        assert (many.x, many.level, many.inside) == (single.x, single.level, single.inside)
    assert all(
        np.array_equal(a.pixels, other.read(*p)) for p, a in zip(places[:3], other.read_many(places[:3]), strict=True)
    )


def test_results_do_not_share_memory(pairs):
    fast, _ = pairs["ycbcr"]
    first = fast.read(300, 300, 64, 0.25)
    kept = first.copy()
    fast.read(900, 600, 64, 0.25)
    assert np.array_equal(first, kept)


def test_layout_survives_bytes(slides):
    for name in (*VARIANTS, "odd", "no_mpp"):
        layout = layout_of(slides[name])
        data = layout.to_bytes()
        again = Layout.from_bytes(data)
        assert (again.size, again.mpp, again.vendor, again.levels) == (
            layout.size,
            layout.mpp,
            layout.vendor,
            layout.levels,
        )
        for a, b in zip(again.tiles, layout.tiles, strict=True):
            assert np.array_equal(a.offsets, b.offsets)
            assert np.array_equal(a.counts, b.counts)
            assert (a.width, a.height, a.tile, a.colour, a.tables) == (b.width, b.height, b.tile, b.colour, b.tables)
    path = slides["ycbcr"]
    stored = Layout.from_bytes(layout_of(path).to_bytes())
    with by_layout(path, stored) as slide, open_slide(path) as parsed:
        assert np.array_equal(slide.read(40, 50, 99, 0.3), parsed.read(40, 50, 99, 0.3))


def test_what_the_fast_path_leaves_to_openslide(plain, tmp_path):
    assert layout_of(plain) is None
    (tmp_path / "text").write_text("no slide")
    assert layout_of(tmp_path / "text") is None
    path = write_phantom_slide(tmp_path / "tagged.svs", 600, 500, levels=1)
    path.write_bytes(
        path.read_bytes().replace(b"Aperio Image Library v12.0.15\r\n600", b"<?xml version='1.0'?><Image><x 600")
    )
    assert layout_of(path) is None
    lies = write_phantom_slide(tmp_path / "lies.svs", 600, 500, levels=1)
    content = lies.read_bytes().replace(b"\x06\x01\x03\x00", b"\x06\x01\x03\x00")
    at = content.index(bytes.fromhex("0601 0400 0100 0000 0600 0000"))
    lies.write_bytes(content[: at + 8] + b"\x02" + content[at + 9 :])  # photometric RGB, yet JFIF-less YCbCr streams
    assert not isinstance(open_slide(lies), TiffSlide) or agrees(open_slide(lies))


def test_a_tile_without_bytes_is_white(slides):
    layout = layout_of(slides["ycbcr"])
    counts = layout.tiles[0].counts.copy()
    counts[1, 1] = 0
    holed = replace(layout, tiles=(replace(layout.tiles[0], counts=counts), *layout.tiles[1:]))
    with by_layout(slides["ycbcr"], holed) as slide, open_slide(slides["ycbcr"]) as whole:
        seen, expected = slide.read(200, 200, 400, 0.25), whole.read(200, 200, 400, 0.25).copy()
        expected[56:312, 56:312] = 255
        assert np.array_equal(seen, expected)


def test_a_cut_slide_is_an_error(slides, tmp_path):
    content = slides["ycbcr"].read_bytes()
    layout = layout_of(slides["ycbcr"])
    for share in (0.3, 0.9, 0.999):
        path = tmp_path / f"cut{share}.svs"
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(EvaError):
            open_slide(path).read(600, 500, 256, 0.25)
    path = tmp_path / "cut0.3.svs"
    with (
        by_layout(path, layout) as slide,
        pytest.raises(EvaError, match=r"the file is cut\. Get the slide again"),
    ):
        slide.read(1500, 1000, 256, 0.25)


def test_offsets_beyond_the_end_are_an_error(slides, tmp_path):
    content = bytearray(slides["single"].read_bytes())
    layout = layout_of(slides["single"])
    first = int(layout.tiles[0].offsets[0, 0]).to_bytes(4, "little") + int(layout.tiles[0].offsets[0, 1]).to_bytes(
        4, "little"
    )
    at = content.index(first)
    content[at : at + 4] = (2**31).to_bytes(4, "little")
    path = tmp_path / "beyond.svs"
    path.write_bytes(content)
    with pytest.raises(EvaError, match="where its last tile ends"):
        open_slide(path)


@pytest.mark.parametrize("damage", ["zeros", "marker", "cut"])
def test_a_tile_that_does_not_decode_is_an_error(slides, tmp_path, damage):
    layout = layout_of(slides["ycbcr"])
    content = bytearray(slides["ycbcr"].read_bytes())
    start, count = int(layout.tiles[0].offsets[1, 2]), int(layout.tiles[0].counts[1, 2])
    if damage == "zeros":
        content[start : start + count] = bytes(count)
    elif damage == "marker":
        content[start + count // 2 : start + count // 2 + 2] = b"\xff\xd9"
    else:
        content[start + count // 2 : start + count] = b"\xff\xd9" + bytes(count - count // 2 - 2)
    path = tmp_path / "bad.svs"
    path.write_bytes(content)
    with open_slide(path) as slide:
        for read in (lambda: slide.read(500, 300, 128, 0.25), lambda: slide.read_many([(500, 300, 128, 0.5)])):
            with pytest.raises(EvaError, match=r"tile 2, 1 of level 0 of .*bad\.svs, but it does not decode"):
                read()
        assert slide.read(1100, 800, 100, 0.25).shape == (100, 100, 3)  # the others are as good as before


def test_handles_are_given_back(slides):
    layout = layout_of(slides["ycbcr"])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with by_layout(slides["ycbcr"], layout) as slide:
            slide.read(0, 0, 64, 0.25)
        with pytest.raises(EvaError):
            open_slide(slides["no_mpp"])
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_row_of_tiles_is_one_read(slides, monkeypatch):
    reads = []
    with open_slide(slides["ycbcr"]) as slide:
        ranges = LocalFile.ranges
        monkeypatch.setattr(LocalFile, "ranges", lambda self, spans: reads.append(len(spans)) or ranges(self, spans))
        slide.read(200, 200, 256, 0.25)  # over 2 x 2 tiles
    assert reads == [2]
