"""Tissue by colour: H&E kept, glass, ink, borders and lines rejected; masks and shares against plain counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import rgb_to_hsv
from PIL import Image

from eva_core import registry
from eva_core.errors import UsageError
from eva_vision.slides.reading.open import open_slide
from eva_vision.slides.tissue_detection import VERSION, _otsu, clean, described, hsv, otsu, patch_filter, tissue_mask
from eva_vision.synthetic.patches import phantom_patch, random_stain

INKS = {"blue": (0.1, 0.25, 0.75), "green": (0.15, 0.65, 0.5), "red": (0.9, 0.12, 0.15), "black": (0.08, 0.08, 0.09)}


def glass(tint=(243, 242, 244), size=256, seed=0):
    noise = np.random.default_rng(seed).normal(0, 1.5, (size, size, 3))
    return np.clip(np.array(tint) + noise, 0, 255)


def thumbnail(tint=(243, 242, 244), seed=0):
    """Glass with a square of phantom tissue as it looks at 8 micrometres per pixel."""
    rng = np.random.default_rng(seed)
    picture, stain = glass(tint), random_stain(rng)
    for row in range(64, 190, 14):
        for column in range(64, 190, 14):
            patch = Image.fromarray(phantom_patch(int(rng.integers(4)), rng, stain, 64))
            small = np.asarray(patch.resize((14, 14), Image.Resampling.BOX))
            picture[row : row + 14, column : column + 14] = small
    return picture


@pytest.mark.parametrize("detect", [hsv, otsu])
@pytest.mark.parametrize("tint", [(243, 242, 244), (250, 246, 236), (241, 230, 240), (222, 224, 226)])
def test_tissue_is_kept_and_glass_of_any_tint_is_not(detect, tint):
    mask = detect(thumbnail(tint).astype(np.uint8), 8.0)
    assert mask.dtype == bool
    assert mask[66:188, 66:188].mean() > 0.97
    outside = mask.copy()
    outside[60:196, 60:196] = False
    assert not outside.any()


@pytest.mark.parametrize("detect", [hsv, otsu])
@pytest.mark.parametrize("ink", INKS)
def test_ink_is_rejected_on_glass_and_on_tissue(detect, ink):
    picture = thumbnail()
    picture[100:120] *= INKS[ink]  # a stroke across both, that lets tissue shine through
    picture[20:40, 20:240] *= np.sqrt(INKS[ink])  # and a paler one
    mask = detect(picture.astype(np.uint8), 8.0)
    assert not mask[99:121].any()
    if ink != "black":  # half of black is grey: not tissue either
        assert not mask[:60].any()
    assert mask[130:186, 68:186].mean() > 0.95


@pytest.mark.parametrize("detect", [hsv, otsu])
def test_borders_shades_lines_and_specks_are_rejected(detect):
    picture = glass()
    picture[:, :20] = 3  # what was not scanned
    picture[-30:] *= np.linspace(1, 0.4, 30)[:, None, None]  # the edge of the slide
    picture[:, 100:102] = (120, 60, 110)  # a coverslip's edge, coloured by the optics
    picture[60:66, 200:206] = (170, 90, 150)  # a speck of stain
    assert not detect(picture.astype(np.uint8), 8.0).any()


@pytest.mark.parametrize("detect", [hsv, otsu])
@pytest.mark.parametrize("colour", [0, 128, 255])
def test_an_empty_slide_has_no_tissue(detect, colour):
    assert not detect(np.full((40, 50, 3), colour, np.uint8), 8.0).any()
    assert detect(np.full((1, 1, 3), colour, np.uint8), 8.0).shape == (1, 1)


def test_small_holes_are_filled_and_large_ones_are_not():
    picture = thumbnail()
    picture[90:94, 90:94] = picture[140:170, 140:170] = 243
    mask = hsv(picture.astype(np.uint8), 8.0)
    assert mask[88:96, 88:96].all()
    assert not mask[145:165, 145:165].any()


def test_glass_at_the_border_is_no_hole():
    """Corners and bays that are filled in the middle, of a slide that is tissue to its border."""
    mask = np.ones((120, 140), bool)
    mask[:7, :7] = mask[-7:, -7:] = mask[:6, 60:69] = mask[50:58, :6] = mask[60:68, 60:68] = False
    cleaned = clean(mask, np.zeros_like(mask), 8.0)
    assert cleaned[58:70, 58:70].all()
    for glass_at_border in (cleaned[:5, :5], cleaned[-5:, -5:], cleaned[:4, 62:67], cleaned[52:56, :4]):
        assert not glass_at_border.any()
    assert cleaned.mean() > 0.98


def test_the_patch_filter_is_that_of_published_thresholds():
    """Against hue, saturation and value by matplotlib, rounded to OpenCV's scale."""
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    pixels[:200] = 255 - pixels[:200] // 12  # nearly white: where saturation decides
    hue, saturation, value = np.moveaxis(rgb_to_hsv(pixels / 255.0), -1, 0)
    hue, saturation = np.round(hue * 180) % 180, np.round(saturation * 255)
    wanted = (hue >= 90) & (saturation >= 8) & (value * 255 >= 103)
    got = np.array([patch_filter(pixel[None, None]) for pixel in pixels.reshape(-1, 3)[::7]])
    assert (got == wanted.ravel()[::7]).mean() > 0.998  # the rest is hue within one rounding of the bounds
    pink, white = np.array([220, 140, 190], np.uint8), np.full(3, 245, np.uint8)
    patch = np.tile(white, (10, 10, 1))
    patch[:6] = pink
    assert patch_filter(patch)
    patch[5, 0] = white
    assert not patch_filter(patch)


@given(st.lists(st.integers(0, 50), min_size=3, max_size=12))
def test_otsu_parts_where_variance_within_is_least(counts):
    values = np.repeat(np.arange(len(counts)), counts)
    if len(np.unique(values)) < 2:
        return
    within = []
    for level in range(len(counts) - 1):
        parts = [values[values <= level], values[values > level]]
        within.append(sum(part.var() * len(part) for part in parts if len(part)))
    assert within[_otsu(np.array(counts))] == pytest.approx(min(within))


def test_methods_are_names_and_others_may_add_theirs():
    assert {entry.name for entry in registry.tissue.entries()} >= {"hsv", "otsu"}
    with pytest.raises(UsageError, match="Did you mean otsu"):
        registry.tissue.load("ottsu")
    with pytest.raises(UsageError, match="There are hsv, otsu"):
        registry.tissue.load("unet")


def test_the_mask_of_a_slide_is_at_8_micrometres_whatever_its_pyramid(slides, monkeypatch):
    with open_slide(slides["ycbcr"]) as slide:
        mask = tissue_mask(slide)
        assert (mask.slide_width, mask.slide_height, mask.slide_mpp) == (1800, 1300, 0.25)
        assert mask.mpp == pytest.approx(8, rel=0.02)
        monkeypatch.setitem(registry.tissue._registered, "half", Half)
        half = tissue_mask(slide, "half")
    assert half.share(0, 0, 900) == pytest.approx(1, abs=0.02)
    assert half.share(900, 0, 900) == pytest.approx(0, abs=0.02)
    assert half.area == pytest.approx(900 * 1300 * 0.25**2 * 1e-6, rel=0.02)


class Half:
    """An entry whose method calls the left half tissue."""

    @staticmethod
    def load():
        def left(pixels, mpp):
            assert pixels.dtype == np.uint8
            assert mpp == pytest.approx(8, rel=0.02)
            return np.tile(np.arange(pixels.shape[1]) < pixels.shape[1] / 2, (len(pixels), 1))

        return left


# Real pixels.

SHARES = {  # least and greatest share of tissue: of what the eye calls tissue when the mask is drawn
    "diagnostic-slide-thumb-rgb.png": (0.30, 0.45),
    "tcga-lung-rgb.png": (0.60, 0.85),
    "tcga-red-pen.png": (0.45, 0.60),
    "tissue-level0-4302-10273-4814-10785.png": (0.35, 0.75),
    "no-tissue-green-pen.png": (0.0, 0.0),
    "no-tissue-line.png": (0.0, 0.0),
}


@pytest.mark.real_data
@pytest.mark.parametrize("detect", [hsv, otsu])
@pytest.mark.parametrize("name", SHARES)
def test_histology_is_tissue_and_hard_negatives_are_not(real_data, detect, name):
    pixels = np.asarray(Image.open(real_data / "tissue_tiles" / name).convert("RGB"))
    low, high = SHARES[name]
    assert low <= detect(pixels, 8.0).mean() <= high


@pytest.mark.real_data
def test_pen_on_real_tissue_is_rejected(real_data):
    pixels = np.asarray(Image.open(real_data / "tissue_tiles" / "diagnostic-slide-thumb-rgb.png").convert("RGB"))
    mask = hsv(pixels, 8.0)
    for row, column in ((325, 240), (188, 228), (135, 100), (110, 40), (260, 460), (180, 47), (50, 140)):
        assert not mask[row, column], (row, column)
    assert mask[405:430, 200:260].mean() > 0.97
    assert mask[160:210, 110:180].mean() > 0.97


@pytest.mark.real_data
def test_crowded_epithelium_is_not_taken_for_ink(real_data):
    with open_slide(real_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        mask = tissue_mask(slide)
    assert mask.area == pytest.approx(0.60, abs=0.05)
    assert mask.share(1000, 1300, 200) == pytest.approx(1)


def test_an_index_knows_the_version_of_its_masks():
    assert [described(method).split()[1] for method in ("hsv", "otsu")] == [str(VERSION)] * 2
