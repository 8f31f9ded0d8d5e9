"""DICOM slides, written here element by element: a series is one slide."""

import struct
from pathlib import Path

import numpy as np
import pytest

from eva_vision.slides import open_slide
from eva_vision.slides.build_index import build, in_this_process
from eva_vision.slides.dicom_series import one_per_series, series_of
from eva_vision.synthetic.slides import phantom_tissue

TILE = 64
LONG = ("OB", "OW", "SQ")


def element(group, number, kind, value, unknown=False):
    """One element in explicit VR little endian; of unknown length on request."""
    if isinstance(value, str):
        value = value.encode()
    value += (b"\0" if kind in ("UI", "OB") else b" ") * (len(value) % 2)
    if kind in LONG:
        length = struct.pack("<HI", 0, 0xFFFFFFFF if unknown else len(value))
    else:
        length = struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind.encode() + length + value


def short(group, number, value):
    return element(group, number, "US", struct.pack("<H", value))


def sequence(group, number, content, unknown=False):
    """A sequence of one item; of unknown lengths, it is closed by delimiters."""
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF if unknown else len(content)) + content
    if unknown:
        item += struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return element(group, number, "SQ", item, unknown)


def begin(series, instance="1.2.3.9", unknown=False):
    """A file as far as its series, with another series in a sequence before."""
    slide, plain = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.2.1"
    meta = element(2, 1, "OB", b"\0\1") + element(2, 2, "UI", slide) + element(2, 3, "UI", instance)
    meta += element(2, 0x10, "UI", plain) + element(2, 0x12, "UI", "1.2.3")
    other = sequence(8, 0x1115, element(0x20, 0xE, "UI", "9.9.9"), unknown)
    return b"".join(
        [
            bytes(128) + b"DICM" + element(2, 0, "UL", struct.pack("<I", len(meta))) + meta,
            element(8, 8, "CS", r"ORIGINAL\PRIMARY\VOLUME\NONE"),
            element(8, 0x16, "UI", slide) + element(8, 0x18, "UI", instance) + other,
            element(0x20, 0xD, "UI", "1.2.3.1") + element(0x20, 0xE, "UI", series),
        ]
    )


def write_level(path: Path, pixels: np.ndarray, mpp: float, series: str, instance: str) -> Path:
    """One level, uint8 (H, W, 3), without compression."""
    height, width, _ = pixels.shape
    down, across = -(-height // TILE), -(-width // TILE)
    whole = np.pad(pixels, ((0, -height % TILE), (0, -width % TILE), (0, 0)))
    frames = whole.reshape(down, TILE, across, TILE, 3).swapaxes(1, 2).tobytes()
    spacing = sequence(0x28, 0x9110, element(0x28, 0x30, "DS", f"{mpp / 1000:.6f}\\{mpp / 1000:.6f}"))
    path.write_bytes(
        b"".join(
            [
                begin(series, instance),
                element(0x20, 0x9311, "CS", "TILED_FULL"),
                short(0x28, 2, 3) + element(0x28, 4, "CS", "RGB") + short(0x28, 6, 0),
                element(0x28, 8, "IS", str(down * across)) + short(0x28, 0x10, TILE) + short(0x28, 0x11, TILE),
                short(0x28, 0x100, 8) + short(0x28, 0x101, 8) + short(0x28, 0x102, 7) + short(0x28, 0x103, 0),
                element(0x48, 6, "UL", struct.pack("<I", width)) + element(0x48, 7, "UL", struct.pack("<I", height)),
                sequence(0x5200, 0x9229, spacing),
                element(0x7FE0, 0x10, "OB", frames),
            ]
        )
    )
    return path


def write_slide(folder: Path, series: str, seed: int) -> np.ndarray:
    """Two levels of half the size, and the pixels of the first."""
    pixels = phantom_tissue(512, 384, seed=seed)
    half = pixels.reshape(192, 2, 256, 2, 3).mean((1, 3)).astype(np.uint8)
    write_level(folder / f"{series}-half.dcm", half, 1.0, series, f"{series}.1")
    write_level(folder / f"{series}-whole.dcm", pixels, 0.5, series, f"{series}.2")
    return pixels


def test_a_series_is_indexed_once(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    wanted = {series: write_slide(folder, series, seed) for seed, series in enumerate(("1.2.3.4", "1.2.3.5"))}
    paths = sorted(str(path) for path in folder.glob("*.dcm"))
    assert len(paths) == 4
    index = build(paths, tmp_path / "index", "hsv", None, in_this_process)
    assert index.failed == ()
    assert [entry.name for entry in index.entries] == ["1.2.3.4-half.dcm", "1.2.3.5-half.dcm"]
    for number, pixels in enumerate(wanted.values()):
        with index.open(number) as slide:
            assert (slide.vendor, slide.mpp) == ("dicom", pytest.approx(0.5))
            assert [(level.width, level.height) for level in slide.levels] == [(512, 384), (256, 192)]
            assert np.array_equal(slide.read(100, 50, 200, slide.mpp), pixels[50:250, 100:300])
    with open_slide(paths[1]) as other:  # by another file of the series
        assert len(other.levels) == 2
    again = build(list(reversed(paths)), tmp_path / "index", "hsv", None, in_this_process)
    assert len(again) == 2  # what is known stands for its series, whatever the order


def test_a_level_of_odd_size_is_read_as_it_is(tmp_path):
    """OpenSlide paints between its pixels; what it takes a level for is undone."""
    small = np.random.default_rng(2).integers(0, 256, (201, 303, 3), dtype=np.uint8)
    write_level(tmp_path / "1.dcm", small, 1.0, "1.2.3.4", "1.2.3.4.1")
    write_level(tmp_path / "2.dcm", np.full((403, 606, 3), 255, np.uint8), 0.5, "1.2.3.4", "1.2.3.4.2")
    with open_slide(tmp_path / "1.dcm") as slide:
        assert [level.downsample for level in slide.levels] == [1.0, 2.0]
        assert not slide.steps[1].is_integer()
        patch = slide.read_patch(300, 200, 96, 1.0)
        assert patch.level == 1
        assert np.abs(patch.pixels.astype(int) - small[100:196, 150:246]).max() <= 3


def test_one_file_stands_for_a_series_of_a_folder(tmp_path):
    names = {"a/1.dcm": "1.1", "a/2.DCM": "1.1", "a/3.dcm": "1.2", "b/1.dcm": "1.1", "b/2.dcm": None, "b/3.dcm": None}
    for name, series in names.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(begin(series) if series else b"damaged")
    paths = [str(tmp_path / name) for name in names] + ["/x.svs", "/gone/1.dcm", "/gone/2.dcm"]
    dropped = {str(tmp_path / "a/2.DCM")}
    assert one_per_series(paths) == [path for path in paths if path not in dropped]
    dropped = {str(tmp_path / "a/1.dcm")}
    assert one_per_series(paths, representatives=[str(tmp_path / "a/2.DCM")]) == [
        path for path in paths if path not in dropped
    ]


@pytest.mark.parametrize("unknown", [False, True])
def test_the_series_is_found_past_sequences_and_never_in_them(unknown):
    start = begin("1.2.3.4", unknown=unknown)
    assert series_of(start) == "1.2.3.4"
    assert series_of(start + bytes(1000)) == "1.2.3.4"
    lacking = start[: start.rindex(struct.pack("<HH", 0x20, 0xE))]
    assert series_of(lacking) is None
    assert series_of(lacking + short(0x28, 2, 3) + bytes(20)) is None


def test_what_is_no_dicom_has_no_series():
    whole = begin("1.2.3.4")
    for start in (b"", b"II*\0" + bytes(500), bytes(132), whole[:140], whole[: len(whole) // 2]):
        assert series_of(start) is None
    noise = np.random.default_rng(0).integers(0, 256, (200, 400), dtype=np.uint8)
    for row in noise:  # ends, whatever comes
        series_of(bytes(128) + b"DICM" + row.tobytes())


def test_series_of_a_bucket_are_found_too(tmp_path, web):
    web.root = tmp_path
    for name in ("1.dcm", "2.dcm", "3.dcm"):
        (tmp_path / name).write_bytes(begin("1.1" if name < "3" else "1.2"))
    address = f"http://127.0.0.1:{web.server_port}"
    assert one_per_series([f"{address}/{n}.dcm" for n in (1, 2, 3)]) == [f"{address}/{n}.dcm" for n in (1, 3)]
