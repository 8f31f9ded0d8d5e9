"""Reading through OpenSlide what the fast path does not know: the pixels of a level as they are, and tile by tile."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import ArgumentError
from functools import lru_cache

import numpy as np
import openslide
from PIL import Image
from typing_extensions import override

from eva_core.errors import EvaError
from eva_vision.slides.reading import tiff_pyramid
from eva_vision.slides.reading.blobs import is_url
from eva_vision.slides.reading.mpp import decide_mpp, openslide_mpp
from eva_vision.slides.reading.pillow_tiles import StoredLevel, stored_level
from eva_vision.slides.reading.read_plan import Level, downsample, is_smaller_copy
from eva_vision.slides.reading.readers import SlideReader
from eva_vision.slides.reading.slide import NotOpened, Slide
from eva_vision.slides.reading.staging import Staged, stage
from eva_vision.slides.reading.tiff_directories import Directory, Tiff, damaged, read_tiff

_TILES = 2**25
"""Bytes of decoded tiles that OpenSlide keeps in a process, however many slides are open."""
_ONE_CHAIN = ("aperio", "generic-tiff")
"""Vendors whose levels are directories of a TIFF as `tiff_pyramid` tells them."""
_IN_GRIDS = (*_ONE_CHAIN, "dicom", "hamamatsu", "philips-tiff", "sakura")
"""Vendors whose tiles OpenSlide places on whole pixels of a level; of others it moves each by a part of a pixel."""
_PIECE = 2048
"""Side in pixels; OpenSlide rounds the places of regions above 4,096 for each such part of them."""
_LARGEST = 2**26
"""Pixels of a tile."""
MARGIN = 10
"""Pixels beside a region on which its own depend: two at 1.5 level-0 pixels each weigh 2**-10 at this distance."""
_ROUNDED = 0.45
"""Grey levels by which cairo rounds what it mixes, white up and black down: a half, yet plain areas stay."""
_WHOLE = 1 / 512
"""Parts of a pixel that cairo, by which OpenSlide paints, takes for none."""
_SIDE = 256
_ROUNDING = 2
"""Grey levels by which two decoders may differ."""
_UNDECODED = (OSError, ValueError, SyntaxError, EOFError)
_ERRORS = (openslide.OpenSlideError, OSError, ValueError, ArgumentError)


class OpenSlideSlide(Slide):
    """Anything that OpenSlide reads.

    Attributes:
        steps: Level-0 pixels that a pixel of each level spans, as OpenSlide computes it.
    """

    description = "OpenSlide"

    def __init__(self, path: str, mpp: float | None = None) -> None:
        """Open a slide; see `open_slide`."""
        self._staged: Staged | None = stage(path) if is_url(path) else None
        self._local = str(self._staged.path) if self._staged else path
        self._closed = False
        try:
            with _tiff(self._local, path) as tiff:
                self._slide = self._opened(path)
                vendor = self._slide.properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
                pages = _pages(tiff, vendor, path)
                levels = _levels(self._slide, None if pages is None else set(pages))
                self.steps = [self._slide.level_downsamples[number] for number in levels]  # as it computes them
                self._stored = {
                    place: stored_level(tiff, pages[level.width, level.height], self._local)
                    for place, level in enumerate(levels.values())
                    if tiff and pages and place and not self.steps[place].is_integer()
                }
            stated_mpp = openslide_mpp(self._slide.properties)
            level0_mpp = decide_mpp(path, mpp, stated_mpp)
        except EvaError:
            self.close()
            raise
        self._numbers = list(levels)
        self._compared: set[int] = set()
        self._in_grid = vendor in _IN_GRIDS
        super().__init__(path, level0_mpp, vendor, list(levels.values()), stated_mpp=stated_mpp)

    @override
    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._closed = True
        with suppress(ArgumentError, AttributeError):  # it is closed, or was never open
            self._slide.close()
        if self._staged:
            self._staged.close()

    def _opened(self, path: str) -> openslide.OpenSlide:
        try:
            slide = openslide.OpenSlide(self._local)
            slide.set_cache(_cache(os.getpid()))
        except (openslide.OpenSlideError, OSError) as error:
            raise NotOpened(
                f"Expected a slide that OpenSlide reads, but {path} is none ({str(error) or 'unknown format'}). "
                "Get it again, or leave it out."
            ) from error
        return slide

    @override
    def region(self, level: int, reduce: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        out = np.full((height, width, 3), 255, np.uint8)
        dimensions = self.levels[level]
        rows = _pieces(max(top, 0), min(top + height, dimensions.height))
        columns = list(_pieces(max(left, 0), min(left + width, dimensions.width)))
        for y, y_end in rows:
            for x, x_end in columns:
                out[y - top : y_end - top, x - left : x_end - left] = self._piece(level, x, y, x_end - x, y_end - y)
        return out

    def _piece(self, level: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Pixels of a level, also where its scale is no whole number to OpenSlide, which then paints between them."""
        step = self.steps[level]
        between = self._in_grid and not float(step).is_integer()
        if (stored := self._as_stored(level)) is not None:
            try:
                return stored.region(left, top, width, height)
            except _UNDECODED as error:
                raise self._unread(level, left, top, width, height, error) from error
        x, y = (max(left - MARGIN, 0), max(top - MARGIN, 0)) if between else (left, top)
        columns, rows = (left + width - x, top + height - y)
        if between:
            columns, rows = columns + MARGIN, rows + MARGIN
        column, row = round(x * step), round(y * step)
        pixels = over_white(self._read(self._numbers[level], column, row, columns, rows))
        if between:
            pixels = unshifted(pixels, column / step - x, row / step - y)
        piece: np.ndarray = pixels[top - y : top - y + height, left - x : left - x + width]
        return piece

    def _as_stored(self, level: int) -> StoredLevel | None:
        """The tiles of a level, where they are what OpenSlide gives at its corner, which is on its pixels."""
        stored = self._stored.get(level)
        if stored is not None and level not in self._compared:
            side = (min(_SIDE, self.levels[level].width), min(_SIDE, self.levels[level].height))
            try:
                reference = over_white(self._read(self._numbers[level], 0, 0, *side)).astype(int)
                same = bool(np.abs(stored.region(0, 0, *side) - reference).max() <= _ROUNDING)
            except (EvaError, *_UNDECODED):
                same = False
            if not same:
                self._stored[level] = stored = None
            self._compared.add(level)
        return stored

    def _unread(self, level: int, x: int, y: int, width: int, height: int, error: Exception) -> EvaError:
        return EvaError(
            f"Could not read {width} x {height} px at {x}, {y} of level {level} of {self.path} ({error}). "
            "Get the slide again, or leave it out."
        )

    def _read(self, number: int, x: int, y: int, width: int, height: int) -> Image.Image:
        """One region. OpenSlide gives up a handle after one tile that does not decode, so another takes its place.

        What fails is tried again by a handle of its own: another thread's tile may have been at fault.
        """
        region = ((x, y), number, (width, height))
        with suppress(*_ERRORS):
            return self._slide.read_region(*region)
        if self._closed:
            raise EvaError(f"Expected an open slide, but {self.path} was closed. Open it again.")
        handle = self._opened(self.path)
        try:
            image = handle.read_region(*region)
        except _ERRORS as error:
            handle.close()
            self._slide = self._opened(self.path)
            raise EvaError(
                f"Could not read {width} x {height} px at {x}, {y} (pixels of level 0) in level {number} of "
                f"{self.path} ({error}). Get the slide again, or leave it out."
            ) from error
        self._slide = handle
        return image


class OpenSlideReader(SlideReader):
    """The reader of whatever OpenSlide reads; asked last."""

    @override
    def opens(self, path: str, first_bytes: bytes) -> bool:
        """Whether to try: OpenSlide itself says what it does not know."""
        return True

    @override
    def open(self, path: str, mpp: float | None, state: bytes | None) -> OpenSlideSlide:
        """Open; a remote file is copied to a local cache first.

        Raises:
            NotOpened: OpenSlide does not know the format, or the file is damaged.
            UsageError: No mpp is known.
            EvaError: It cannot be had.
        """
        return OpenSlideSlide(path, mpp)

    @override
    def state(self, slide: Slide) -> bytes:
        """Keep nothing: OpenSlide parses a file whenever it opens it."""
        return b""


def over_white(image: Image.Image) -> np.ndarray:
    """Paint what is transparent white, as it was not scanned: RGBA -> uint8 (H, W, 3)."""
    if image.getchannel("A").getextrema() != (255, 255):
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def unshifted(pixels: np.ndarray, across: float, down: float) -> np.ndarray:
    """Recover the pixels that lie under a picture of them which was painted between them, uint8 (H, W, 3).

    Cairo mixes two neighbours, (1 - s) a + s b. Going through a row from the side of b, each a follows from the one
    before it: a is (picture - s b) / (1 - s). Rounding comes back at most 1 / (1 - 2 s) times as large, for each axis.

    Args:
        pixels: What was painted; some pixels at its border do not come out right.
        across: By which part of a pixel it lies too far to the right in what is under it, between -0.5 and 0.5.
        down: By which part of a pixel it lies too far down, between -0.5 and 0.5.
    """
    if max(abs(across), abs(down)) < _WHOLE:
        return pixels
    exact: np.ndarray = pixels * np.float32(1 - 2 * _ROUNDED / 255) + np.float32(_ROUNDED)
    for axis, shift in ((1, across), (0, down)):
        if abs(shift) >= _WHOLE:
            exact = _unmixed(exact, shift, axis)
    rounded: np.ndarray = np.clip(np.rint(exact), 0, 255)
    return rounded.astype(np.uint8)


def _unmixed(mixed: np.ndarray, shift: float, axis: int) -> np.ndarray:
    """`unshifted` along an axis, written out: a sum over neighbours with weights that fall by s / (1 - s)."""
    ratio = -abs(shift) / (1 - abs(shift))
    weights = ratio ** np.arange(1 + math.ceil(math.log(1e-3) / math.log(-ratio)))
    weights /= weights.sum()  # so that plain areas stay
    exact = np.zeros_like(mixed)
    for k, weight in enumerate(weights.astype(np.float32)):
        exact += weight * np.roll(mixed, -k if shift > 0 else k, axis)
    return exact


def _pieces(first: int, end: int) -> Iterator[tuple[int, int]]:
    return ((begin, min(begin + _PIECE, end)) for begin in range(first, end, _PIECE))


@contextmanager
def _tiff(local: str, path: str) -> Iterator[Tiff | None]:
    """The directories of a TIFF, before OpenSlide sees them; None where it is none, or does not open.

    Raises:
        EvaError: They make a loop, or OpenSlide would end the process as memory runs out.
    """
    if not (os.path.isfile(local) and os.access(local, os.R_OK)):  # of which OpenSlide tells
        yield None
        return
    with open(local, "rb") as file:
        tiff = read_tiff(file, path)
        if tiff is not None:
            for page in tiff.directories:
                width, height = tiff_pyramid.tile(tiff, page)
                if width * height > _LARGEST:
                    raise damaged(path, f"its TIFF directory {page.index} has tiles of {width:,} x {height:,} px")
        yield tiff


def _pages(tiff: Tiff | None, vendor: str, path: str) -> dict[tuple[int, int], Directory] | None:
    """Directories of the levels of a TIFF by their sizes; None where they do not tell.

    Raises:
        EvaError: They hold no 8-bit RGB.
    """
    if tiff is None:
        return None
    pages = tiff_pyramid.levels(tiff, vendor) if vendor in _ONE_CHAIN else tiff_pyramid.largest(tiff)
    for page in pages:
        if (content := tiff_pyramid.what_else(tiff, page)) is not None:
            raise EvaError(f"Expected RGB of 8 bits in {path}, but it holds {content}. Leave it out, or convert it.")
    return {tiff_pyramid.size(tiff, page): page for page in pages} if vendor in _ONE_CHAIN else None


def _levels(slide: openslide.OpenSlide, stated_sizes: set[tuple[int, int]] | None) -> dict[int, Level]:
    """Levels by OpenSlide's numbers, but for those that are no smaller copies of level 0.

    Args:
        slide: Open.
        stated_sizes: Sizes of levels by the file itself, where it tells.
    """
    full = slide.level_dimensions[0]
    levels = {0: Level(*full, 1.0)}
    for number, size in list(enumerate(slide.level_dimensions))[1:]:
        sides = [slide.properties.get(f"openslide.level[{number}].tile-{side}", "") for side in ("width", "height")]
        tile = (int(sides[0]), int(sides[1])) if all(sides) else None
        scale = downsample(full, size)
        further = scale > levels[max(levels)].downsample * tiff_pyramid.SPACING
        if further and is_smaller_copy(full, size, tile) and (stated_sizes is None or size in stated_sizes):
            levels[number] = Level(*size, scale)
    return levels


@lru_cache(1)
def _cache(_process: int) -> openslide.OpenSlideCache:
    """One cache of tiles for all slides of a process."""
    return openslide.OpenSlideCache(_TILES)
