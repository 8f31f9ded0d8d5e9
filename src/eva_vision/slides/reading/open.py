"""Opening slides, by the fast path or by OpenSlide, and comparing the two."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eva_core.errors import EvaError, UsageError
from eva_vision.slides.reading.blobs import Blob, is_url
from eva_vision.slides.reading.mpp import decide_mpp
from eva_vision.slides.reading.openslide import MARGIN, NotOpened, OpenSlideSlide, over_white
from eva_vision.slides.reading.read_plan import Level
from eva_vision.slides.reading.slide import Patch, Slide
from eva_vision.slides.reading.sparse_copy import Region, sparse_copy
from eva_vision.slides.reading.tiff import Layout, LocalFile, Source, TiffSlide, Undecodable, layout_of

__all__ = ["Level", "NotOpened", "OpenSlideSlide", "Patch", "Slide", "open_as_stated", "open_slide", "over_white"]

_SIDE = 256
_BETWEEN = 40.0
"""Decibels that remain where OpenSlide paints between pixels, and rounds; of other colours or places fewer do."""


def open_slide(path: str | Path, mpp: float | None = None, exact: bool = False, layout: Layout | None = None) -> Slide:
    """Open a slide by the fast path where it applies, else by OpenSlide.

    Args:
        path: File, or URL (`s3://`, `gs://`, `az://`, `http://`, `https://`). What only OpenSlide reads is copied
            from there to a local cache.
        mpp: Micrometres per pixel of level 0; None: as the file says.
        exact: Always resample from level 0, and never let the JPEG decoder do a part of it.
        layout: From an index: then nothing is parsed.

    Raises:
        UsageError: No mpp is given and the file states none.
        EvaError: The slide does not open, or is cut.
    """
    path = path if is_url(path) else str(Path(path).expanduser())
    layout = layout or layout_of(path)
    if layout is None:
        return OpenSlideSlide(str(path), mpp, exact)
    source: Source = Blob(str(path)) if is_url(path) else LocalFile(path)
    try:
        return TiffSlide(str(path), source, layout, mpp, exact)
    except EvaError:
        source.close()
        raise


def open_as_stated(path: str | Path, otherwise: float | None) -> Slide:
    """Open a slide with the mpp that it states, or with another where it states none.

    Args:
        path: File or URL; see `open_slide`.
        otherwise: Micrometres per pixel of level 0; None: then it must state them.

    Raises:
        UsageError: No mpp is known, or the other one is not positive.
        EvaError: The slide does not open, or is cut.
    """
    if otherwise is not None:
        decide_mpp(str(path), otherwise, None)
    layout = layout_of(path)
    if layout is not None:
        return open_slide(path, layout.mpp or otherwise, layout=layout)
    return by_openslide(str(path), otherwise)


def by_openslide(path: str, otherwise: float | None) -> OpenSlideSlide:
    """As `open_as_stated`, by OpenSlide."""
    try:
        return OpenSlideSlide(path)
    except UsageError:
        if otherwise is None:
            raise
        return OpenSlideSlide(path, otherwise)


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
    regions = [_region(slide, level) for level in range(len(slide.levels))]
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
    known = slide.layout.mpp
    if known and other.stated_mpp and abs(other.stated_mpp / known - 1) > 0.01:
        return False
    for region, step in zip(regions, other.steps, strict=True):
        try:
            ours = slide._region(*region)
        except Undecodable:
            return False
        theirs = other._region(*region)
        if not np.array_equal(ours, theirs) and (float(step).is_integer() or psnr(ours, theirs) < _BETWEEN):
            return False
    return True


def _region(slide: TiffSlide, level: int) -> Region:
    """Where the largest tile of a level and its neighbours meet, as the arguments of `_region`."""
    tiles = slide.layout.tiles[level]
    row, column = divmod(int(tiles.counts.argmax()), tiles.counts.shape[1])
    side = min(_SIDE, tiles.width, tiles.height)
    left = min(max(column * tiles.tile[0] - 8, 0), tiles.width - side)
    top = min(max(row * tiles.tile[1] - 8, 0), tiles.height - side)
    return level, 1, left, top, side, side


def _and_margin(region: Region) -> Region:
    """What OpenSlide is asked for to give a region."""
    level, reduce, left, top, width, height = region
    return level, reduce, left - MARGIN, top - MARGIN, width + 2 * MARGIN, height + 2 * MARGIN


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels of two uint8 images."""
    error = float(np.mean((a.astype(np.float32) - b) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
