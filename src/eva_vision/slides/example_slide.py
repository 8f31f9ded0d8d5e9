"""The one real slide that comes with eva, to look at and to try things on."""

from pathlib import Path

EXAMPLE_SLIDE = Path(__file__).parent / "example" / "CMU-1-Small-Region.svs"
"""A piece of an H&E slide, 2220 x 2967 pixels at 0.499 micrometres per pixel."""
LICENCE, LICENCE_PAGE = "CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"
SOURCE, SOURCE_PAGE = "OpenSlide test data", "https://openslide.cs.cmu.edu/download/openslide-testdata/Aperio/"
