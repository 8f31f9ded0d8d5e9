"""The slide that comes with eva is the published file, and says beside it whose it is."""

import hashlib

import numpy as np

from eva_vision.slides.example_slide import EXAMPLE_SLIDE, LICENCE_PAGE, SOURCE_PAGE
from eva_vision.slides.reading.open import open_slide
from eva_vision.slides.tissue_detection import tissue_mask


def test_licence_source_and_checksum_stand_beside_it():
    words = EXAMPLE_SLIDE.with_name("README.md").read_text(encoding="utf-8")
    assert LICENCE_PAGE in words
    assert SOURCE_PAGE in words
    assert hashlib.sha256(EXAMPLE_SLIDE.read_bytes()).hexdigest() in words


def test_it_is_read_at_half_a_micrometre_per_pixel_and_has_tissue():
    with open_slide(EXAMPLE_SLIDE) as slide:
        assert (slide.levels[0].width, slide.levels[0].height) == (2220, 2967)
        assert slide.reader == "tiff"
        pixels = slide.read(900, 1200, 224, 0.5)
        assert np.ptp(pixels) > 100
        assert 0.2 < tissue_mask(slide).pixels.mean() < 0.6
