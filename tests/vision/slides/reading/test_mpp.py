"""Micrometres per pixel: read alike whoever writes them and however, and believed where a scanner can have them."""

import math

import numpy as np
import pytest

from eva_core.errors import EvaError, UsageError
from eva_vision.slides import open_slide
from eva_vision.slides.reading.mpp import aperio_mpp, micrometres, of_both_axes, ome_mpp, openslide_mpp, resolution_mpp
from eva_vision.slides.reading.open import open_as_stated
from eva_vision.slides.reading.openslide import OpenSlideSlide
from tests.vision.slides.tiffs import aperio_text, flat_page, jpeg_page, write_tiff

IMAGE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)


NUMBERS = ("0.25", "0,25", ".25", "+0.250", "2.5e-1", "2,5E-01", "25e-2", " 0.25 ")
WITH_UNITS = (
    "250 nm",
    "250nm",
    "0.25 um",
    "0.25 \xb5m",
    "0.25 \u03bcm",
    "0.25 micrometers",
    "0.25 microns",
    "2.5e-4 mm",
)
PER_PIXEL = ("2.5e-7 m", "0.25 um/px", "0.25 \xb5m per pixel", "0.25 um / pixel")


@pytest.mark.parametrize("text", [*NUMBERS, *WITH_UNITS, *PER_PIXEL])
def test_any_notation(text):
    assert micrometres(text) == pytest.approx(0.25)
    assert aperio_mpp(f"Aperio\r\n|AppMag = 40|MPP = {text}|x") == pytest.approx(0.25)
    assert aperio_mpp(f"Aperio\r\n|MPP={text}") == pytest.approx(0.25)
    assert openslide_mpp({"aperio.MPP": text}) == pytest.approx(0.25)


@pytest.mark.parametrize("text", ["", "x", "40x", "0.25.1", "1,234.5", "0.25 parsec", "nan", "inf", "-", "0x1p-2"])
def test_what_is_no_length(text):
    assert micrometres(text) is None
    assert aperio_mpp(f"Aperio\r\n|MPP = {text}|") is None


@pytest.mark.parametrize("mpp", [0.0, -0.25, math.nan, math.inf, 1e-6, 0.001, 352.8, 1000.0])
def test_what_no_scanner_has(mpp):
    assert of_both_axes(mpp, mpp) is None
    assert of_both_axes(0.25, mpp) is None
    assert of_both_axes(mpp, None) is None
    assert aperio_mpp(f"Aperio\r\n|MPP = {mpp}|") is None
    assert openslide_mpp({"openslide.mpp-x": str(mpp), "openslide.mpp-y": str(mpp)}) is None
    assert ome_mpp(f'<OME PhysicalSizeX="{mpp}" PhysicalSizeY="{mpp}"/>') is None
    if math.isfinite(mpp) and mpp:
        assert resolution_mpp(3, 1e4 / mpp, 1e4 / mpp) is None


def test_axes_that_differ_are_not_believed():
    assert of_both_axes(0.25, 0.5) is None
    assert of_both_axes(0.25, 0.26) is None
    assert of_both_axes(0.2340, 0.2344) == pytest.approx(0.2342)  # as scanners have
    assert openslide_mpp({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.5"}) is None
    assert resolution_mpp(3, 40_000, 20_000) is None
    assert resolution_mpp(3, 40_000, 0) is None


def test_every_writer_by_its_own_names():
    assert resolution_mpp(3, 40_000, 40_000) == 0.25
    assert resolution_mpp(2, 101_600, 101_600) == 0.25
    assert resolution_mpp(None, 101_600, None) == 0.25
    assert resolution_mpp(1, 40_000, 40_000) is None  # no unit
    mirax = "mirax.LAYER_0_LEVEL_0_SECTION.MICROMETER_PER_PIXEL_"
    assert openslide_mpp({f"{mirax}X": "0,2325", f"{mirax}Y": "0,2326"}) == pytest.approx(0.23255)
    assert openslide_mpp({"philips.DICOM_PIXEL_SPACING": '"0.00025" "2.5e-4"'}) == pytest.approx(0.25)
    assert openslide_mpp({"philips.DICOM_PIXEL_SPACING": '"0.00025" "0.0005"'}) is None
    assert openslide_mpp({"ventana.ScanRes": "0.25"}) == 0.25
    assert openslide_mpp({"openslide.mpp-x": "352.8", "openslide.mpp-y": "352.8", "aperio.MPP": "0,5"}) == 0.5
    for x, unit in (
        ("0.25", ""),
        ("0,25", ""),
        ("250", 'PhysicalSizeXUnit="nm"'),
        ("2.5E-4", 'PhysicalSizeXUnit="mm"'),
    ):
        assert ome_mpp(f'<Pixels PhysicalSizeX="{x}" {unit} PhysicalSizeY="0.25"/>') == pytest.approx(0.25)
    micro = (
        '<Pixels PhysicalSizeX="0.25" PhysicalSizeXUnit="&#181;m" PhysicalSizeY="0.25" PhysicalSizeYUnit="&#xb5;m"/>'
    )
    assert ome_mpp(micro) == 0.25
    assert ome_mpp('<Pixels PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1"/>') is None
    assert openslide_mpp({}) is None


@pytest.mark.parametrize("page", [jpeg_page, flat_page])
def test_ome_is_read_where_its_resolution_says_nothing(tmp_path, page):
    text = '<?xml version="1.0"?><OME><Pixels PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0,25"/></OME>'
    for resolution in ({}, {"tag282": 72.0, "tag283": 72.0, "tag296": 2}):
        with open_slide(write_tiff(tmp_path / "a.ome.tif", [page(IMAGE, tag270=text, **resolution)])) as slide:
            assert slide.mpp == pytest.approx(0.25)


@pytest.mark.parametrize("mpp", ["0.25", "0,25", "2.5e-1", "250 nm", "0", "-0.25", "nan", "inf", "1e-6", "1000"])
@pytest.mark.parametrize("page", [jpeg_page, flat_page])
def test_both_readers_read_a_description_alike(tmp_path, page, mpp):
    path = write_tiff(tmp_path / "a.svs", [page(IMAGE, tag270=aperio_text(300, 200, mpp), tag259=7)])
    stated = 0.25 if "2" in mpp and mpp[0] != "-" else None
    if page is flat_page:
        path = write_tiff(tmp_path / "a.svs", [page(IMAGE, tag270=aperio_text(300, 200, mpp))])
    if stated is None:
        with pytest.raises(UsageError, match="states none, or none that a scanner has"):
            open_slide(path)
    with open_as_stated(path, 0.4) as slide:
        assert slide.mpp == pytest.approx(stated or 0.4)


@pytest.mark.parametrize(("across", "down"), [(40_000.0, 20_000.0), (28.35, 28.35), (1e6, 1e6), (0.0, 0.0)])
def test_both_readers_doubt_a_resolution_alike(tmp_path, across, down):
    for page in (jpeg_page, flat_page):
        path = write_tiff(tmp_path / "a.tif", [page(IMAGE, mpp=0.25, tag282=across, tag283=down)])
        for opened in (open_slide, lambda path: OpenSlideSlide(str(path))):
            with pytest.raises(UsageError, match="states none"):
                opened(path)


def test_the_other_mpp_is_of_slides_that_state_none(tmp_path):
    stated = write_tiff(tmp_path / "a.tif", [flat_page(IMAGE, mpp=0.5)])
    for path in (stated, write_tiff(tmp_path / "b.tif", [jpeg_page(IMAGE, mpp=0.5)])):
        with open_as_stated(path, 0.25) as slide:
            assert slide.mpp == 0.5
        with pytest.raises(UsageError, match="positive"):
            open_as_stated(path, -1)
    with pytest.raises(EvaError, match="Check the path"):
        open_as_stated(tmp_path / "none.tif", 0.25)
