"""Opening slides, and reading through OpenSlide what the fast path does not know."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from ctypes import ArgumentError
from functools import lru_cache
from pathlib import Path

import numpy as np
import openslide
from PIL import Image

from eva_core.errors import EvaError
from eva_vision.slides.plan import Level, downsample
from eva_vision.slides.remote import Blob, is_url
from eva_vision.slides.slide import Patch, Slide, decide_mpp, plausible
from eva_vision.slides.sparse import Region, sparse_copy
from eva_vision.slides.staging import Staged, stage
from eva_vision.slides.tiff import Layout, LocalFile, Source, TiffSlide, Undecodable, layout_of

__all__ = ["Level", "OpenSlideSlide", "Patch", "Slide", "open_slide"]

_SIDE = 256
_BETWEEN = 25.0
"""Decibels that remain where OpenSlide places pixels between pixels; of other colours or places fewer do."""
_TILES = 2**25
"""Bytes of decoded tiles that OpenSlide keeps in a process, however many slides are open."""


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


class NotOpened(EvaError):
    """A file that OpenSlide does not open: there is none, it is damaged, or of a format that it does not know."""


class OpenSlideSlide(Slide):
    """Anything that OpenSlide reads.

    Attributes:
        downsamples: Of the levels, by OpenSlide's reckoning.
        stated_mpp: By the file, where plausible.
    """

    def __init__(self, path: str, mpp: float | None = None, exact: bool = False) -> None:
        """Open; see `open_slide`."""
        self._staged: Staged | None = None
        if is_url(path):
            self._staged = stage(path)
        local = self._staged.path if self._staged else path
        try:
            self._slide = openslide.OpenSlide(local)
            self._slide.set_cache(_cache(os.getpid()))
        except (openslide.OpenSlideError, OSError) as error:
            if self._staged:
                self._staged.close()
            raise NotOpened(
                f"Expected a slide that OpenSlide reads, but {path} is none ({str(error) or 'unknown format'}). "
                "Get it again, or leave it out."
            ) from error
        sizes = self._slide.level_dimensions
        self.downsamples = self._slide.level_downsamples
        self.stated_mpp = _stated_mpp(self._slide.properties)
        levels = [Level(*size, downsample(sizes[0], size)) for size in sizes]
        vendor = self._slide.properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
        try:
            own = decide_mpp(path, mpp, self.stated_mpp)
        except EvaError:
            self.close()
            raise
        super().__init__(path, own, vendor, levels, (1,), exact)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with suppress(ArgumentError):  # which says that it is closed
            self._slide.close()
        if self._staged:
            self._staged.close()

    def _region(self, level: int, reduce: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        step = self.downsamples[level]  # by its own reckoning, so that it lands on the pixel that we mean
        try:
            image = self._slide.read_region((round(left * step), round(top * step)), level, (width, height))
        except (openslide.OpenSlideError, OSError, ValueError, ArgumentError) as error:
            raise EvaError(
                f"Could not read {width} x {height} px at {left}, {top} of level {level} of {self.path} ({error}). "
                "Get the slide again, or leave it out."
            ) from error
        return over_white(image)


def over_white(image: Image.Image) -> np.ndarray:
    """What is transparent was not scanned, and is white: RGBA -> uint8 (H, W, 3)."""
    if image.getchannel("A").getextrema() != (255, 255):
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def agrees(slide: Slide) -> bool | None:
    """Compare levels, mpp, and one region of tissue of each level, pixel for pixel.

    Tissue is where tiles take the most bytes. Of a remote slide only the directories and these tiles are fetched: the
    rest of the file that OpenSlide is shown is a hole.

    Returns:
        Whether OpenSlide gives the same; None where it does not open the slide.

    Raises:
        EvaError: The bytes cannot be had, or OpenSlide does not decode them.
    """
    if not isinstance(slide, TiffSlide):
        return True
    regions = [_region(slide, level) for level in range(len(slide.levels))]
    if not is_url(slide.path):
        return _agrees(slide, slide.path, regions)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / slide.name
        sparse_copy(slide, regions, copy)
        return _agrees(slide, str(copy), regions)


def _agrees(slide: TiffSlide, path: str, regions: Sequence[Region]) -> bool | None:
    try:
        other = OpenSlideSlide(path, mpp=slide.mpp)
    except NotOpened:
        return None
    with other:
        if slide.levels != other.levels:
            return False
        known = slide.layout.mpp
        if known and other.stated_mpp and abs(other.stated_mpp / known - 1) > 0.01:
            return False
        for region, step in zip(regions, other.downsamples, strict=True):
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


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels of two uint8 images."""
    error = float(np.mean((a.astype(np.float32) - b) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def _stated_mpp(properties: Mapping[str, str]) -> float | None:
    """Micrometres per pixel as OpenSlide knows them, where they are plausible."""
    stated = [properties.get(name) for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)]
    known = [float(text) for text in stated if text]
    return plausible(sum(known) / len(known)) if known else None


@lru_cache(1)
def _cache(process: int) -> openslide.OpenSlideCache:
    return openslide.OpenSlideCache(_TILES)
