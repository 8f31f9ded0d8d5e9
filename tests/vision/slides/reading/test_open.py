import gc
import os
import shutil

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from eva_core.errors import EvaError, UsageError
from eva_vision.slides import open_slide
from eva_vision.slides.reading.openslide import OpenSlideSlide, over_white
from eva_vision.slides.reading.tiff import TiffSlide
from eva_vision.slides.reading.verify import agrees


def test_openslide_reads_what_the_fast_path_does_not(plain):
    with open_slide(plain) as slide, openslide.OpenSlide(plain) as reference:
        assert isinstance(slide, OpenSlideSlide)
        assert (slide.name, slide.vendor, slide.mpp) == ("plain.tif", "generic-tiff", pytest.approx(0.5))
        expected = np.asarray(reference.read_region((50, 60), 0, (100, 100)).convert("RGB"))
        patch = slide.read_patch(50, 60, 100, 0.5)
        assert np.array_equal(patch.pixels, expected)
        assert (patch.x, patch.y, patch.mpp, patch.level, patch.reduce, patch.inside) == (50, 60, 0.5, 0, 1, 1.0)


def test_beyond_the_border_is_white_and_told(plain, slides):
    for path, opened in ((plain, OpenSlideSlide), (slides["single"], TiffSlide)):
        with open_slide(path) as slide:
            assert isinstance(slide, opened)
            patch = slide.read_patch(-50, -25, 100, slide.mpp)
            assert patch.inside == pytest.approx(0.5 * 0.75)
            assert (patch.pixels[:25] == 255).all()
            assert (patch.pixels[:, :50] == 255).all()
            assert not (patch.pixels[25:, 50:] == 255).all()
            full = slide.levels[0]
            assert slide.read_patch(full.width - 10, full.height - 10, 100, slide.mpp).inside == 0.01
            away = slide.read_patch(10**6, 10**6, 10, slide.mpp)
            assert away.inside == 0
            assert (away.pixels == 255).all()


def test_transparent_is_white():
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    image.putpixel((1, 0), (10, 20, 30, 255))
    assert over_white(image).tolist() == [[[255, 255, 255], [10, 20, 30]]]


def test_finer_than_the_slide_is_interpolated(slides):
    with open_slide(slides["single"]) as slide:
        fine, own = slide.read(300, 300, 200, 0.25), slide.read(300, 300, 100, 0.5)
        assert fine.shape == (200, 200, 3)
        assert np.abs(fine.reshape(100, 2, 100, 2, 3).mean((1, 3)) - own).mean() < 8


def test_the_mpp_of_a_patch_is_that_of_its_pixels(slides, plain):
    for path in (slides["single"], plain):
        with open_slide(path) as slide:
            own = slide.mpp
            native, near = slide.read_patch(30, 40, 100, own), slide.read_patch(30, 40, 100, own * 1.0015)
            assert np.array_equal(near.pixels, native.pixels)
            assert near.mpp == native.mpp == own
            (many,) = slide.read_many([(30, 40, 100, own * 1.0015)])
            assert many.mpp == own
            assert slide.read_patch(30, 40, 100, own * 1.3).mpp == own * 1.3


def test_no_mpp_says_how_to_give_one(slides, plain, tmp_path):
    with pytest.raises(UsageError, match=r"states none.*open_slide\(path, mpp="):
        open_slide(slides["no_mpp"])
    with open_slide(slides["no_mpp"], mpp=0.4) as slide:
        assert slide.mpp == 0.4
    with pytest.raises(UsageError, match="positive"):
        open_slide(slides["no_mpp"], mpp=-1)
    absurd = tmp_path / "dpi.tif"  # 72 dpi is what programs write when they know nothing
    tifffile.imwrite(absurd, np.zeros((64, 64, 3), np.uint8), tile=(32, 32), resolution=(72, 72), resolutionunit=2)
    with pytest.raises(UsageError, match="states none"):
        open_slide(absurd)


def test_what_is_no_slide(tmp_path):
    for name, content in (("a.svs", b"nothing"), ("b.svs", b"II*\0\x08\0\0\0\0\0"), ("c.svs", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EvaError, match="Expected a slide"):
            open_slide(tmp_path / name)
    with pytest.raises(EvaError, match="Check the path"):
        open_slide(tmp_path / "missing.svs")


@pytest.mark.parametrize("name", ["ycbcr", "rgb", "single", "odd"])
def test_exact_reads_level_0_alone(slides, name):
    with open_slide(slides[name], exact=True) as fast, OpenSlideSlide(str(slides[name])) as other:
        other.read_exactly()
        for mpp in (fast.mpp, fast.mpp * 1.3, fast.mpp * 2, fast.mpp * 4):
            patch = fast.read_patch(101, 203, 128, mpp)
            assert (patch.level, patch.reduce, patch.x, patch.y) == (0, 1, 101, 203)
            assert np.array_equal(patch.pixels, other.read(101, 203, 128, mpp))


@pytest.mark.parametrize("side", [1, 50, 300, 1024, 10_000])
def test_thumbnail(slides, plain, side, monkeypatch):
    for path in (slides["ycbcr"], slides["odd"], plain):
        with open_slide(path) as slide, openslide.OpenSlide(path) as reference:
            seen = slide.thumbnail(side)
            full = slide.levels[0]
            longest = min(side, max(full.width, full.height))
            assert max(seen.shape[:2]) in (longest, longest - 1)
            assert seen.shape[1] / seen.shape[0] == pytest.approx(
                full.width / full.height, rel=0.5 if side == 1 else 0.05
            )
            whole = reference.read_region((0, 0), 0, reference.dimensions).convert("RGB")
            expected = np.asarray(whole.resize(seen.shape[1::-1], Image.Resampling.BOX), float)
            assert np.abs(seen - expected).mean() < 6
            monkeypatch.setattr("eva_vision.slides.reading.slide._STRIP", 20_000)  # many strips give the same picture
            assert np.abs(slide.thumbnail(side).astype(float) - seen).mean() < 4
            monkeypatch.undo()


def test_a_slide_deleted_in_the_middle_is_no_white(plain, slides, tmp_path):
    for source in (plain, slides["ycbcr"]):
        path = tmp_path / source.name
        shutil.copy(source, path)
        with open_slide(path) as slide:
            before = slide.read(300, 200, 64, slide.mpp)
            path.unlink()
            try:
                after = slide.read(300, 200, 64, slide.mpp)
            except EvaError:
                continue
            assert np.array_equal(before, after)


def test_a_closed_slide_is_an_error(slides, plain):
    for path in (slides["ycbcr"], plain):
        slide = open_slide(path)
        slide.close()
        slide.close()
        with pytest.raises(EvaError):
            slide.read(0, 0, 32, 0.25)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_slide_that_is_dropped_gives_its_file_back(slides, plain):
    for path in (slides["ycbcr"], plain):
        open_slide(path).close()  # what is opened once for all
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(5):
            open_slide(path).read(300, 200, 32, 0.5)
        gc.collect()
        assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # the listing's own


@pytest.mark.real_data
def test_a_real_slide(real_data):
    path = real_data / "slides" / "CMU-1-Small-Region.svs"
    with open_slide(path) as fast, OpenSlideSlide(str(path)) as other, openslide.OpenSlide(path) as reference:
        assert isinstance(fast, TiffSlide)
        assert agrees(fast)
        assert (
            (fast.mpp, fast.levels, fast.vendor)
            == (other.mpp, other.levels, other.vendor)
            == (0.499, fast.levels, "aperio")
        )
        for x, y in ((0, 0), (117, 935), (2000, 2800), (-30, 1500)):
            expected = over_white(reference.read_region((x, y), 0, (256, 256)))
            assert np.array_equal(fast.read(x, y, 256, 0.499), expected)
            assert np.array_equal(other.read(x, y, 256, 0.499), expected)
