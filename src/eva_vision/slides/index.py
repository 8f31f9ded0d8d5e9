"""An index of slides: all that sampling and opening need, so that no header is parsed twice.

A folder of two files that only grow: `slides.jsonl` has a line for each slide, `blobs.bin` what is too large for one:
the offsets of the tiles, and the tissue mask. A line is written after its blobs, so that a killed process leaves a
whole index of what was done. Of several lines on one slide the last counts.
"""

import json
import os
import zlib
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from eva_core.errors import EvaError, UsageError
from eva_vision.slides.mask import TissueMask
from eva_vision.slides.reader import OpenSlideSlide, open_slide
from eva_vision.slides.slide import Slide
from eva_vision.slides.tiff import Layout

LINES, BLOBS = "slides.jsonl", "blobs.bin"
_SCHEMA = 1
_MASKS = 256
"""Tissue masks that an open index keeps decoded: 400 kB at most each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a slide.

    Attributes:
        path: Absolute, or a URL.
        bytes: Size of the file.
        modified: Its time in nanoseconds; 0 for a URL.
        error: Why it could not be indexed; then the rest is empty.
        sha256: Of its first 64 kB and its size.
        width: Level-0 pixels.
        height: Likewise.
        mpp: Micrometres per level-0 pixel.
        vendor: As OpenSlide calls it.
        levels: Width and height of each level in pixels, full size first.
        area: Tissue in mm2.
        reader: `fast` for tiled JPEG TIFF, else `openslide`.
        agreed: Whether the fast path gave what OpenSlide gives; None where they were not compared.
        offset: Where its blobs begin.
        layout_bytes: Of the layout, which comes first; 0 where OpenSlide reads.
        mask_bytes: Of the tissue mask.
        crc32: Of both.
    """

    path: str
    bytes: int
    modified: int
    error: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    mpp: float = 0.0
    vendor: str = ""
    levels: tuple[tuple[int, int], ...] = ()
    area: float = 0.0
    reader: str = ""
    agreed: bool | None = None
    offset: int = 0
    layout_bytes: int = 0
    mask_bytes: int = 0
    crc32: int = 0

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]


class Index:
    """An index, open for reading. Pickles, and survives a fork.

    Attributes:
        entries: Slides that can be read, by path: a slide's number is its place here.
        failed: Those that could not be indexed.
        tissue: Name of the method of the masks.
    """

    def __init__(self, folder: str | Path) -> None:
        """Read the lines.

        Raises:
            UsageError: There is no index in this folder, or one of another version.
        """
        self.folder = Path(folder)
        self.tissue, lines = read_lines(self.folder)
        known = [lines[path] for path in sorted(lines)]
        self.entries = tuple(entry for entry in known if not entry.error)
        self.failed = tuple(entry for entry in known if entry.error)
        self._masks: OrderedDict[int, TissueMask] = OrderedDict()

    def __len__(self) -> int:
        return len(self.entries)

    def __reduce__(self) -> tuple[Any, ...]:
        return Index, (self.folder,)

    def number(self, path: str) -> int:
        """The number of a slide.

        Args:
            path: Absolute, or a URL.

        Raises:
            UsageError: It is not in the index, or could not be indexed.
        """
        found = bisect_left(self.entries, path, key=lambda entry: entry.path)
        if found == len(self) or self.entries[found].path != path:
            raise UsageError(f"Expected {path} in {self.folder}, but it is not there. `eva slides index` adds it.")
        return found

    def open(self, number: int, exact: bool = False) -> Slide:
        """Open a slide without parsing it; see `open_slide`.

        Raises:
            EvaError: The slide is gone, or its part of the index is damaged.
        """
        entry = self.entries[number]
        if not entry.layout_bytes:
            return OpenSlideSlide(entry.path, entry.mpp, exact)
        layout = Layout.from_bytes(self._blobs(entry)[: entry.layout_bytes])
        return open_slide(entry.path, entry.mpp, exact, layout)

    def mask(self, number: int) -> TissueMask:
        """Where a slide is tissue. The last 256 are remembered.

        Raises:
            EvaError: Its part of the index is damaged.
        """
        if number in self._masks:
            self._masks.move_to_end(number)
            return self._masks[number]
        entry = self.entries[number]
        found = self._masks[number] = TissueMask.from_bytes(self._blobs(entry)[entry.layout_bytes :])
        if len(self._masks) > _MASKS:
            self._masks.popitem(last=False)
        return found

    def _blobs(self, entry: Entry) -> bytes:
        path = self.folder / BLOBS
        try:
            with path.open("rb", buffering=0) as file:
                blobs = os.pread(file.fileno(), entry.layout_bytes + entry.mask_bytes, entry.offset)
        except OSError as error:
            raise EvaError(f"Expected the blobs of the index in {path}, but they do not read ({error}).") from error
        if zlib.crc32(blobs) != entry.crc32:
            raise EvaError(
                f"Expected {entry.name} in {path}, but its part is damaged. Index the slides again elsewhere."
            )
        return blobs


class Writer:
    """Adds to an index; one process at a time."""

    def __init__(self, folder: Path, tissue: str) -> None:
        """Make the folder, or go on where a killed process stopped.

        Args:
            tissue: Name of the method of the masks: one index has one.

        Raises:
            UsageError: Another process writes, or the index has masks of another method.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"Expected {folder} for this process alone, but another one writes it. Wait for it."
            ) from None
        lines = folder / LINES
        self.known: dict[str, Entry] = {}
        if lines.exists():
            made_by, self.known = read_lines(folder)
            if made_by != tissue:
                self._lock.release()
                raise UsageError(f"Expected --tissue {made_by} for {folder}, but got {tissue}. Give another --output.")
        self._lines, self._blobs = lines.open("ab"), (folder / BLOBS).open("ab")
        if lines.stat().st_size:
            self._lines.truncate(lines.read_bytes().rfind(b"\n") + 1)  # a line that was cut by a kill
        else:
            self._write({"eva_index": _SCHEMA, "tissue": tissue})

    def add(self, entry: dict[str, Any], layout: bytes = b"", mask: bytes = b"") -> Entry:
        """Keep what is known of a slide: fields of `Entry`, and its blobs."""
        blobs = layout + mask
        offset = self._blobs.seek(0, os.SEEK_END)
        self._blobs.write(blobs)
        self._blobs.flush()
        whole = Entry(**entry, offset=offset, layout_bytes=len(layout), mask_bytes=len(mask), crc32=zlib.crc32(blobs))
        self._write(asdict(whole))
        self.known[whole.path] = whole
        return whole

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line).encode() + b"\n")
        self._lines.flush()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._blobs, self._lines):
            os.fsync(file.fileno())
            file.close()
        self._lock.release()


def read_lines(folder: Path) -> tuple[str, dict[str, Entry]]:
    """The method of the masks, and the last line on each slide by path; a last line that was cut is left out.

    Raises:
        UsageError: There is no index in this folder, or one of another version.
    """
    try:
        lines = (folder / LINES).read_bytes().splitlines(keepends=True)
        blobs = (folder / BLOBS).stat().st_size
    except OSError as error:
        raise UsageError(f"Expected an index in {folder}, but there is none. `eva slides index` makes one.") from error
    try:
        header = json.loads(lines[0]) if lines else {}
        if header.get("eva_index") != _SCHEMA:
            raise UsageError(
                f"Expected an index of version {_SCHEMA} in {folder}, but got another. Index the slides again."
            )
        entries = list(_entries(line for line in lines[1:] if line.endswith(b"\n")))
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"Expected an index in {folder}, but {LINES} is damaged ({error}). Index again elsewhere."
        ) from error
    # after a power cut a line may be on disk, but not what it points to
    return header["tissue"], {e.path: e for e in entries if e.offset + e.layout_bytes + e.mask_bytes <= blobs}


def _entries(lines: Iterator[bytes]) -> Iterator[Entry]:
    for line in lines:
        fields = json.loads(line)
        fields["levels"] = tuple(tuple(size) for size in fields.get("levels", ()))
        yield Entry(**fields)
