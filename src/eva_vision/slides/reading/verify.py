"""Comparing what the fast path reads with what OpenSlide reads."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eva_core.errors import EvaError
from eva_vision.slides.reading.blobs import is_url
from eva_vision.slides.reading.open import as_stated, open_by
from eva_vision.slides.reading.openslide import MARGIN, OpenSlideSlide
from eva_vision.slides.reading.readers import readers_for
from eva_vision.slides.reading.slide import NotOpened, Region, Slide
from eva_vision.slides.reading.sparse_copy import sparse_copy
from eva_vision.slides.reading.tiff import TiffSlide, Undecodable

_SIDE = 256
_BETWEEN = 40.0
"""Decibels that remain where OpenSlide paints between pixels, and rounds; of other colours or places fewer do."""


def open_verified(path: str, otherwise: float | None) -> tuple[Slide, bool | None]:
    """Open a slide as `open_as_stated` does, but by OpenSlide where the fast path gives other pixels.

    Args:
        path: File or URL.
        otherwise: Micrometres per pixel of level 0 where the file states none.

    Returns:
        The slide; and whether the fast path gave what OpenSlide gives, None where they were not compared.

    Raises:
        UsageError: No mpp is known.
        EvaError: The slide does not open, or is cut.
    """
    refusal: EvaError | None = None
    agreed: bool | None = None
    for name in readers_for(path):
        try:
            slide = as_stated(open_by(name, path, otherwise, None))
        except NotOpened as error:
            refusal = error
            continue
        if not isinstance(slide, TiffSlide):
            return slide, agreed
        try:
            agreed = agrees(slide)
        except EvaError:
            slide.close()
            raise
        if agreed is not False:
            return slide, agreed
        slide.close()
    assert refusal is not None  # OpenSlide is always asked
    raise refusal


def agrees(slide: Slide) -> bool | None:
    """Compare levels, mpp, and one region of tissue of each level, pixel for pixel.

    Tissue is where tiles take the most bytes. Of a remote slide only the directories and these tiles are fetched: the
    rest of the file that OpenSlide is shown is a hole. Where OpenSlide refuses a slide for a directory that is no
    level, it is shown such a file whose chain has the levels alone.

    Returns:
        Whether OpenSlide gives the same; None where it does not open the slide, nor its levels alone.

    Raises:
        EvaError: The bytes cannot be had, or OpenSlide does not decode them.
    """
    if not isinstance(slide, TiffSlide):
        return True
    regions = [_richest_region(slide, level) for level in range(len(slide.levels))]
    with tempfile.TemporaryDirectory() as folder:
        for alone in (False, True):
            path = slide.path
            if alone or is_url(slide.path):
                path = str(Path(folder) / slide.name)
                sparse_copy(slide, [_and_margin(region) for region in regions], Path(path), alone)
            try:
                with OpenSlideSlide(path, mpp=slide.mpp) as other:
                    return _same(slide, other, regions)
            except NotOpened:
                continue
    return None


def _same(slide: TiffSlide, other: OpenSlideSlide, regions: Sequence[Region]) -> bool:
    if slide.levels != other.levels:
        return False
    mpp = slide.layout.mpp
    if mpp and other.stated_mpp and abs(other.stated_mpp / mpp - 1) > 0.01:
        return False
    for region, step in zip(regions, other.steps, strict=True):
        try:
            fast = slide.region(*region)
        except Undecodable:
            return False
        reference = other.region(*region)
        if not np.array_equal(fast, reference) and (float(step).is_integer() or psnr(fast, reference) < _BETWEEN):
            return False
    return True


def _richest_region(slide: TiffSlide, level: int) -> Region:
    """Find where the largest tile of a level and its neighbours meet, as the arguments of `Slide.region`."""
    tiles = slide.layout.tiles[level]
    row, column = divmod(int(tiles.counts.argmax()), tiles.counts.shape[1])
    side = min(_SIDE, tiles.width, tiles.height)
    left = min(max(column * tiles.tile[0] - 8, 0), tiles.width - side)
    top = min(max(row * tiles.tile[1] - 8, 0), tiles.height - side)
    return level, 1, left, top, side, side


def _and_margin(region: Region) -> Region:
    """Add the margin that OpenSlide needs to give a region."""
    level, reduce, left, top, width, height = region
    return level, reduce, left - MARGIN, top - MARGIN, width + 2 * MARGIN, height + 2 * MARGIN


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels of two uint8 images."""
    error = float(np.mean((a.astype(np.float32) - b) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
