"""An index of slides: all that sampling and opening need, so that no header is parsed twice.

A folder of files (see `index_files`): `slides.jsonl` has a line for each slide, `blobs.bin` what is too large for one:
what the reader of the slide keeps, such as the offsets of its tiles, and the tissue mask. A line is written after its
blobs, so that a killed process leaves a whole index of what was done. Of several lines on one slide the last counts.
"""

import os
import zlib
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from eva_core.errors import EvaError, UsageError, some
from eva_core.files.atomic_files import make_folder, remove_leftovers, unlinked
from eva_core.files.checked_lines import checked_line
from eva_core.progress import say
from eva_vision.slides.changed_slides import refuse_changed
from eva_vision.slides.index_files import (
    BLOBS,
    LINES,
    LISTED,
    SCHEMA,
    Entry,
    entry_line,
    read_content,
    write_list,
)
from eva_vision.slides.reading.logins import logins, take_logins
from eva_vision.slides.reading.open import open_by
from eva_vision.slides.reading.slide import Slide
from eva_vision.slides.tissue_mask import TissueMask

__all__ = ["BLOBS", "LINES", "LISTED", "Entry", "Index", "Writer", "is_index"]

_MASKS = 256
"""Tissue masks that an open index keeps decoded: 400 kB at most each."""


def is_index(folder: Path) -> bool:
    """Whether a folder holds an index, or what is left of one."""
    return any((folder / name).is_file() for name in (LINES, BLOBS, LISTED))


class Index:
    """An index, open for reading. Pickles, and survives a fork.

    Attributes:
        entries: Slides that can be read, by path: a slide's number is its place here.
        failed: Those that could not be indexed.
        missing: Paths of slides that belong to it, but were lost or are yet to be indexed.
        tissue: Name of the method of the masks.
    """

    def __init__(self, folder: str | Path, tell: bool = True) -> None:
        """Read the lines.

        Args:
            folder: Where they are.
            tell: Say what is missing.

        Raises:
            UsageError: There is no index in this folder, or one of another version.
            EvaError: All its slides are missing.
        """
        self.folder = Path(folder)
        try:
            content = read_content(self.folder)
        except OSError as error:
            raise EvaError(f"Expected an index in {folder}, but it does not read ({error}).") from error
        if content.tissue is None:
            raise UsageError(f"Expected an index in {folder}, but there is none. `eva slides index` makes one.")
        self.tissue, self.missing = content.tissue, tuple(content.missing)
        if self.missing and not content.entries:
            raise EvaError(_missing(self.folder, self.missing))
        if self.missing and tell:
            say(_missing(self.folder, self.missing))
        elif not content.listed and tell:
            say(f"{folder} lacks a whole {LISTED}, so that slides may be missing. Run `eva slides index` again.")
        entries = [content.entries[path] for path in sorted(content.entries)]
        self.entries = tuple(entry for entry in entries if not entry.error)
        self.failed = tuple(entry for entry in entries if entry.error)
        self._masks: OrderedDict[int, TissueMask] = OrderedDict()

    def __len__(self) -> int:
        return len(self.entries)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.folder, logins())

    def number(self, path: str) -> int:
        """Find the number of a slide.

        Args:
            path: Absolute, or a URL.

        Raises:
            UsageError: It is not in the index, or could not be indexed.
        """
        number = bisect_left(self.entries, path, key=lambda entry: entry.path)
        if number == len(self) or self.entries[number].path != path:
            raise UsageError(f"Expected {path} in {self.folder}, but it is not there. `eva slides index` adds it.")
        return number

    def open(self, number: int, exact: bool = False) -> Slide:
        """Open a slide without parsing it; see `open_slide`.

        Raises:
            UsageError: The package of its reader is not installed.
            EvaError: The slide is gone or has changed since, or its part of the index is damaged.
        """
        entry = self.entries[number]
        state = self._blobs(entry)[: entry.state_bytes] if entry.state_bytes else b""
        refuse_changed(entry, state)
        return open_by(entry.reader, entry.path, entry.mpp, state, exact)

    def mask(self, number: int) -> TissueMask:
        """Read where a slide is tissue. The last 256 masks are remembered.

        Raises:
            EvaError: Its part of the index is damaged.
        """
        if number in self._masks:
            self._masks.move_to_end(number)
            return self._masks[number]
        entry = self.entries[number]
        decoded = self._masks[number] = TissueMask.from_bytes(self._blobs(entry)[entry.state_bytes :])
        if len(self._masks) > _MASKS:
            self._masks.popitem(last=False)
        return decoded

    def _blobs(self, entry: Entry) -> bytes:
        return _read_blobs(self.folder, entry)


def _reopened(folder: Path, server_logins: dict[str, str]) -> Index:
    """An index in another process, with the logins that it is read with."""
    take_logins(server_logins)
    return Index(folder, False)


class Writer:
    """Adds to an index; one process at a time.

    Attributes:
        entries: What is known of each slide, by path.
    """

    def __init__(self, folder: Path, tissue: str, method: str = "") -> None:
        """Make the folder, or go on where a killed process stopped.

        Args:
            folder: The folder of the index.
            tissue: Name of the method of the masks: one index has one.
            method: The method in words, with its parameters.

        Raises:
            UsageError: Another process writes, or the index has masks of another method.
            EvaError: The folder cannot be written.
        """
        self.folder, self.tissue, self.method = folder, tissue, method
        try:
            make_folder(folder)
            self._lock = FileLock(folder / ".lock")
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"Expected {folder} for this process alone, but another one writes it. Wait for it."
            ) from None
        except OSError as error:
            raise _unwritten(folder, error) from error
        try:
            self._begin()
        except OSError as error:
            self._lock.release()
            raise _unwritten(folder, error) from error
        except BaseException:
            self._lock.release()
            raise

    def _begin(self) -> None:
        content = read_content(self.folder)
        self.entries, self._checks = content.entries, content.checks
        self._pending = set(content.missing)
        self._listed = content.listed and not self._pending
        if self.entries:
            _refuse_other_masks(self.folder, content.tissue, content.method, self.tissue, self.method)
        remove_leftovers(self.folder / LISTED)
        lines, blobs = self.folder / LINES, self.folder / BLOBS
        self._lines = open(lines, "ab", opener=unlinked)  # noqa: SIM115  (closed at the end, as the other)
        self._blobs = open(blobs, "ab", opener=unlinked)  # noqa: SIM115
        # what a kill left of a line, or of an index of which there is nothing yet
        self._lines.truncate(content.lines if self.entries else 0)
        if not self.entries:
            self._blobs.truncate(0)
            self._lines.write(checked_line({"eva_index": SCHEMA, "tissue": self.tissue})[0])
            self._lines.flush()

    def expect(self, paths: Iterable[str]) -> None:
        """Note which slides are about to be indexed, so that it is known what is missing where that is cut short."""
        paths = set(paths)
        self._pending |= paths
        for path in paths:
            self._checks.pop(path, None)
        if paths or not self._listed:
            self._list()

    def add(self, entry: dict[str, Any], state: bytes = b"", mask: bytes = b"") -> Entry:
        """Keep what is known of a slide: fields of `Entry`, and its blobs."""
        blobs = state + mask
        try:
            offset = self._blobs.seek(0, os.SEEK_END)
            self._blobs.write(blobs)
            self._blobs.flush()
            complete = Entry(
                **entry, offset=offset, state_bytes=len(state), mask_bytes=len(mask), crc32=zlib.crc32(blobs)
            )
            line, check = entry_line(complete)
            self._lines.write(line)
            self._lines.flush()
        except OSError as error:
            raise _unwritten(self.folder, error) from error
        self.entries[complete.path], self._checks[complete.path], self._listed = complete, check, False
        self._pending.discard(complete.path)
        return complete

    def is_intact(self, entry: Entry) -> bool:
        """Whether the blobs of a slide are as they were written."""
        try:
            return len(_read_blobs(self.folder, entry)) == entry.end - entry.offset
        except EvaError:
            return False

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for file in (self._blobs, self._lines):
                file.flush()
                os.fsync(file.fileno())
                file.close()
            if not self._listed:
                self._list()
        except OSError as failure:
            if error is None:  # else that is what counts
                raise _unwritten(self.folder, failure) from failure
        finally:
            self._lock.release()

    def _list(self) -> None:
        """Write the list of slides; last, when all that it names is on disk."""
        slides: dict[str, int | None] = {**dict.fromkeys(sorted(self._pending)), **self._checks}
        write_list(self.folder, self.tissue, self.method, slides, (self.folder / LINES).stat().st_size)
        self._listed = not self._pending


def _read_blobs(folder: Path, entry: Entry) -> bytes:
    path = folder / BLOBS
    try:
        with path.open("rb", buffering=0) as file:
            blobs = os.pread(file.fileno(), entry.end - entry.offset, entry.offset)
    except OSError as error:
        raise EvaError(f"Expected the blobs of the index in {path}, but they do not read ({error}).") from error
    if zlib.crc32(blobs) != entry.crc32:
        raise EvaError(f"Expected {entry.name} in {path}, but its part is damaged. Run `eva slides index` on it again.")
    return blobs


def _refuse_other_masks(folder: Path, tissue_before: str | None, method_before: str, tissue: str, method: str) -> None:
    if tissue_before not in (None, tissue):
        raise UsageError(f"Expected --tissue {tissue_before} for {folder}, but got {tissue}. Give another --output.")
    if method_before and method and method_before != method:
        raise UsageError(
            f"Expected {tissue} as the masks of {folder} were made ({method_before}), but it is {method} now. Give "
            "another --output."
        )


def _missing(folder: Path, paths: tuple[str, ...]) -> str:
    return (
        f"{len(paths)} slides are missing from the index in {folder}, which was stopped or cut: {some(paths)}. "
        "Run `eva slides index` on them again."
    )


def _unwritten(folder: Path, error: OSError) -> EvaError:
    return EvaError(f"Could not write the index in {folder} ({error}). Free space or give another --output.")
