"""What image files hold, and how it is read: as a viewer shows it, or not at all."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from eva_vision import decoding
from eva_vision.datasets.masks import read_labels
from eva_vision.images import image_size, read_image
from tests.conftest import picture

RGB = picture(0, size=40)[:, :30]
DEEP = RGB.astype(np.uint16) * 16  # 12 bits, as cameras write them


def png(pixels: np.ndarray, kind: int) -> bytes:
    """A PNG of 16 bits, of which Pillow writes no colours."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(pixels: np.ndarray, **options):
    return lambda file: tifffile.imwrite(file, pixels, **options)


def pillow(pixels: np.ndarray, mode: str | None = None, **options):
    image = Image.fromarray(pixels)
    return lambda file: (image.convert(mode) if mode else image).save(file, **options)


BEYOND = {
    "floats in 0-1.tif": tiff((RGB[..., 0] / 255).astype(np.float32)),
    "floats of colours.tif": tiff((RGB / 255).astype(np.float32), photometric="rgb"),
    "doubles.tif": tiff(RGB[..., 0] / 255),
    "8 bits in 32.tif": pillow(RGB[..., 0].astype(np.int32)),
    "8 bits in 16.tif": tiff(RGB[..., 0].astype(np.uint16)),
    "12 bits in 16.tif": tiff(DEEP[..., 0]),
    "12 bits in 16, big-endian.tif": tiff(DEEP[..., 0], byteorder=">"),
    "12 bits in 16, deflated.tif": tiff(DEEP[..., 0], compression="deflate"),
    "12 bits in 16 of colours.tif": tiff(DEEP, photometric="rgb"),
    "12 bits in 16 of colours, deflated.tif": tiff(DEEP, photometric="rgb", compression="deflate"),
    "12 bits in 16.png": pillow(DEEP[..., 0]),
    "12 bits in 16 of colours.png": lambda file: file.write_bytes(png(DEEP, 2)),
    "12 bits in 16 with opacity.png": lambda file: file.write_bytes(png(np.dstack([DEEP, DEEP[..., :1]]), 6)),
    "four channels.tif": tiff(np.dstack([RGB, RGB[..., 0]]), photometric="rgb", extrasamples=[0]),
    "five channels.tif": tiff(np.dstack([RGB, RGB[..., :2]]), photometric="rgb", extrasamples=[0, 0]),
    "inks.jpg": pillow(RGB, "CMYK"),
    "inks.tif": pillow(RGB, "CMYK"),
    "lab.tif": pillow(RGB, "LAB"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_is_no_8_bit_rgb_is_refused(tmp_path: Path, name: str):
    file = tmp_path / name
    BEYOND[name](file)
    with pytest.raises(OSError, match=r"8-bit|planes"):
        read_image(file)


PAGES = {
    "stack.tif": tiff(np.stack([RGB[..., 0]] * 3), photometric="minisblack"),
    "moving.webp": pillow(RGB, save_all=True, append_images=[Image.fromarray(255 - RGB)]),
    "moving.png": pillow(RGB, save_all=True, append_images=[Image.fromarray(255 - RGB)]),
}


@pytest.mark.parametrize("read", [read_image, read_labels])
@pytest.mark.parametrize("name", PAGES)
def test_of_several_pages_none_is_meant(tmp_path: Path, name: str, read):
    PAGES[name](tmp_path / name)
    with pytest.raises(Exception, match="pages of this size"):
        read(tmp_path / name)


def test_a_thumbnail_beside_the_image_does_no_harm(tmp_path: Path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(RGB, photometric="rgb")
        file.write(np.ascontiguousarray(RGB[::4, ::4]), photometric="rgb")
    assert np.array_equal(read_image(tmp_path / "a.tif"), RGB)


def test_floats_are_no_labels(tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", (RGB[..., 0] > 100).astype(np.float32))
    with pytest.raises(Exception, match="one label a pixel"):
        read_labels(tmp_path / "a.tif")


def opaque_in(rows: slice) -> np.ndarray:
    alpha = np.zeros(RGB.shape[:2], np.uint8)
    alpha[rows] = 255
    return alpha


TRANSPARENT = {
    "colours.png": lambda file: Image.fromarray(np.dstack([RGB, opaque_in(slice(20))])).save(file),
    "grey.png": lambda file: Image.fromarray(np.dstack([RGB[..., 0], opaque_in(slice(20))])).save(file),
    "colours.webp": lambda file: Image.fromarray(np.dstack([RGB, opaque_in(slice(20))])).save(file, lossless=True),
    "colours.tif": tiff(np.dstack([RGB, opaque_in(slice(20))]), photometric="rgb", extrasamples=["unassalpha"]),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_is_transparent_is_white(tmp_path: Path, name: str):
    TRANSPARENT[name](tmp_path / name)
    found = read_image(tmp_path / name)
    assert (found[20:] == 255).all()
    expected = RGB if name.startswith("colours") else np.dstack([RGB[..., 0]] * 3)
    assert np.array_equal(found[:20], expected[:20])


def test_a_transparent_colour_of_a_palette_is_white(tmp_path: Path):
    numbers = np.repeat([[0, 1]], 8, axis=0).astype(np.uint8)
    image = Image.fromarray(numbers, "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png", transparency=0)
    assert read_image(tmp_path / "a.png")[0].tolist() == [[255, 255, 255], [200, 100, 50]]


TURNED = {
    **{2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: np.swapaxes(a, 0, 1)},
    **{6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2), 8: np.rot90},
}


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", TURNED)
def test_images_and_masks_are_turned_as_viewers_turn_them(tmp_path: Path, orientation: int, suffix: str):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(RGB).save(tmp_path / f"a.{suffix}", exif=exif, **options)
    expected = TURNED[orientation](RGB)
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}"), expected)
    assert image_size(tmp_path / f"a.{suffix}") == expected.shape[:2]
    if suffix != "webp":
        Image.fromarray(RGB[..., 0]).save(tmp_path / f"mask.{suffix}", exif=exif)
        assert np.array_equal(read_labels(tmp_path / f"mask.{suffix}"), TURNED[orientation](RGB[..., 0]))


def test_a_jpeg_is_turned(tmp_path: Path):
    exif = Image.Exif()
    exif[274] = 8
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(RGB).save(tmp_path / "plain.jpg")
    assert np.array_equal(read_image(tmp_path / "a.jpg"), np.rot90(read_image(tmp_path / "plain.jpg")))


def test_a_large_image_is_read_and_one_that_no_memory_holds_is_told(tmp_path: Path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "MOST_PIXELS", RGB[..., 0].size)
    assert read_image(tmp_path / "a.png").shape == RGB.shape
    monkeypatch.setattr(decoding, "MOST_PIXELS", RGB[..., 0].size - 1)
    with pytest.raises(OSError, match="cut it into patches, or read it as a slide"):
        image_size(tmp_path / "a.png")
    assert Image.MAX_IMAGE_PIXELS is None  # Pillow's is an error from 179 million on
    assert 180_000_000 < 2**29


@pytest.mark.parametrize("kind", ["eps", "pdf", "gif", "ppm"])
def test_other_formats_are_none_whatever_they_are_called(tmp_path: Path, kind: str):
    Image.fromarray(RGB).save(tmp_path / "a.png", kind)
    with pytest.raises(OSError, match=r"^it is no 8-bit image in BMP, JPEG, PNG, TIFF or WEBP$"):
        read_image(tmp_path / "a.png")


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path):
    (tmp_path / "a.png").touch()
    for source in (tmp_path / "a.png", io.BytesIO()):
        with pytest.raises(OSError, match=r"^it is empty$"):
            read_image(source)
