"""The slide that the rest of eva reads, whatever its format."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self

import numpy as np

from eva_core.errors import EvaError, UsageError
from eva_vision.slides.reading.read_plan import Level, Plan, plan
from eva_vision.slides.reading.resample import area_resize, enlarge, sharp_order

_STRIP = 2**24
"""Pixels that a thumbnail reads at once."""
_HANDLE = 3 * 2**20
"""Bytes that a handle of OpenSlide takes beside its shared cache: 2.2 MB measured on an SVS of 40,000 x 30,000."""


Region = tuple[int, int, int, int, int, int]
"""Level, reduction, left, top, width and height, as `Slide.region` takes them."""


class NotOpened(EvaError):
    """A file that a reader does not open: there is none, it is damaged, or of a format that it does not know."""


@dataclass(frozen=True)
class Patch:
    """A patch, and where it comes from.

    Attributes:
        pixels: uint8 RGB (size, size, 3).
        x: Level-0 column of the corner, after snapping to the grid of the level.
        y: Level-0 row of the corner, after snapping.
        mpp: Micrometres per pixel: as asked, or the source's own where that is within 0.2 % and its pixels are kept.
        level: Level of the pyramid that was read.
        reduce: Scale at which JPEG was decoded: 1, 2, 4 or 8.
        inside: Share of the patch that lies in the slide; the rest is white.
    """

    pixels: np.ndarray
    x: int
    y: int
    mpp: float
    level: int
    reduce: int
    inside: float


class Slide(ABC):
    """A whole slide image, open for reading.

    Attributes:
        name: Last part of the path.
        path: File or URL.
        mpp: Micrometres per pixel of level 0.
        vendor: As OpenSlide calls it.
        levels: The pyramid, full size first.
        stated_mpp: Micrometres per pixel by the file itself, where it states any that can be believed.
        reduces: Scales at which a level can be decoded at once: 1, and perhaps 2, 4 and 8.
        sources: Levels that patches are made from.
        reader: Name of the reader that opened it.
        description: How it is read, in words; empty: the name of the reader says enough.
    """

    description: ClassVar[str] = ""

    def __init__(
        self,
        path: str,
        mpp: float,
        vendor: str,
        levels: Sequence[Level],
        reduces: Sequence[int] = (1,),
        stated_mpp: float | None = None,
    ) -> None:
        """Keep what is known of the slide.

        Args:
            path: File or URL.
            mpp: Micrometres per pixel of level 0.
            vendor: Vendor of the scanner or the format.
            levels: The pyramid, full size first.
            reduces: Scales at which a level can be decoded at once: 1, and perhaps 2, 4 and 8.
            stated_mpp: Micrometres per pixel by the file itself, where it states any.
        """
        self.path = path
        self.name = path.rstrip("/").rpartition("/")[2]
        self.mpp = mpp
        self.vendor = vendor
        self.levels = tuple(levels)
        self.stated_mpp = stated_mpp
        self.reader = ""
        self.reduces = tuple(reduces)
        self.sources = self.levels

    @property
    def memory(self) -> int:
        """Bytes that it takes while it is open, by estimate, beside caches that slides share."""
        return _HANDLE

    def read_exactly(self) -> None:
        """Resample from level 0 from now on, and never let a decoder do a part of it."""
        self.reduces, self.sources = (1,), self.levels[:1]

    @abstractmethod
    def region(self, level: int, reduce: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Read pixels of a level as it decodes, which is all that a reader has to know.

        Args:
            level: Number of the level, full size first.
            reduce: One of the scales at which a level can be decoded: 2 makes one pixel of 2 x 2.
            left: First column, in pixels of the level after reduction; may lie outside.
            top: First row, in the same pixels.
            width: Columns.
            height: Rows.
        Returns:
            uint8 RGB (height, width, 3), white beyond the border.
        Raises:
            EvaError: The pixels cannot be had.
        """

    @abstractmethod
    def close(self) -> None:
        """Give files and memory back. Reading afterwards is an error."""

    def read(self, x: int, y: int, size: int, mpp: float) -> np.ndarray:
        """The pixels of `read_patch`: uint8 (size, size, 3)."""
        return self.read_patch(x, y, size, mpp).pixels

    def read_patch(self, x: int, y: int, size: int, mpp: float) -> Patch:
        """Read one patch.

        Args:
            x: Level-0 column of its corner; what lies outside the slide is white.
            y: Level-0 row of its corner.
            size: Side in pixels.
            mpp: Micrometres per pixel; finer than the slide's own is interpolated.

        Raises:
            UsageError: A size below 1, or an mpp that is not positive.
            EvaError: The pixels cannot be had.
        """
        where = self._plan(x, y, size, mpp)
        return make_patch(where, self.region(*window(where)), size)

    def read_many(self, places: Sequence[tuple[int, int, int, float]]) -> list[Patch]:
        """Read patches (x, y, size, mpp) in this order; from blob storage, many requests are under way at once."""
        return list(self.read_each(places))

    def read_each(self, places: Sequence[tuple[int, int, int, float]]) -> Iterator[Patch]:
        """`read_many`, patch by patch: of many patches, only some lie in memory."""
        plans = [self._plan(*place) for place in places]
        regions = self.regions([window(where) for where in plans])
        for where, region, (_, _, size, _) in zip(plans, regions, places, strict=True):
            yield make_patch(where, region, size)

    def regions(self, wanted: Sequence[Region]) -> Iterator[np.ndarray]:
        """Read regions as `region` does, one by one as they are taken; those to come may be asked for beforehand."""
        return (self.region(*one) for one in wanted)

    def thumbnail(self, side: int = 1024) -> np.ndarray:
        """The whole slide, uint8 (H, W, 3), its longer side at most `side`, from the lowest level that is large enough.

        Raises:
            UsageError: A side below 1.
            EvaError: The pixels cannot be had.
        """
        if side < 1:
            raise UsageError(f"Expected argument side to be at least 1, but got {side}. Give a number of pixels.")
        full = self.levels[0]
        shrink = min(1.0, side / max(full.width, full.height))
        width, height = max(1, round(full.width * shrink)), max(1, round(full.height * shrink))
        whole = plan(self.sources, self.reduces, 1.0, 0, 0, 1, 1 / shrink)
        level = self.levels[whole.level]
        columns, rows = level.width // whole.reduce, level.height // whole.reduce
        width, height = min(width, columns), min(height, rows)
        step = max(1, int(_STRIP / columns / (rows / height)))  # rows of the thumbnail that one strip makes
        parts = []
        for first in range(0, height, step):
            last = min(first + step, height)
            top, bottom = round(first * rows / height), round(last * rows / height)
            strip = self.region(whole.level, whole.reduce, 0, top, columns, bottom - top)
            parts.append(area_resize(strip, width, last - first))
        return np.concatenate(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _plan(self, x: int, y: int, size: int, mpp: float) -> Plan:
        return plan(self.sources, self.reduces, self.mpp, x, y, size, mpp)


def window(where: Plan) -> Region:
    """The arguments of `Slide.region` for a plan."""
    return where.level, where.reduce, where.left, where.top, where.side, where.side


def make_patch(where: Plan, region: np.ndarray, size: int) -> Patch:
    """Bring the pixels of a plan to the size that was asked."""
    if where.span < size:
        region = enlarge(region, size, where.span)
    elif where.span > size:
        region = area_resize(region, size, size, where.span, sharp_order(where.step, where.span / size))
    return Patch(region, where.x, where.y, where.mpp, where.level, where.reduce, where.inside)
