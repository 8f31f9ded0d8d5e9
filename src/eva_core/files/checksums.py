"""Digests of files, and notes of which files were read and found whole: a large one is not read again at each start."""

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from eva_core.errors import EvaError
from eva_core.files.atomic_files import write_text

BLOCK = 2**22
_THREADS = min(8, os.cpu_count() or 1)
_DAYS = 7
"""A file is read again after so long: a disk may change what nobody wrote."""
_TICK = 0.1
"""Seconds within which two changes of a file may bear one time."""


class Damaged(EvaError):
    """A file whose bytes are not those that were written. What could not be read for another reason is not damaged."""


def not_read(path: Path, error: OSError) -> EvaError:
    """Say in a line why a file could not be read, where that says nothing about what is in it."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        advice = "Raise the limit of open files (ulimit -n) and run again"
    elif error.errno in (errno.EACCES, errno.EPERM):
        advice = "Ask its owner for permission to read it, or set EVA_CACHE to a folder of your own"
    else:
        advice = "It was left as it is: run again, and check its disk or network if that fails too"
    return EvaError(f"Could not read {path} ({error.strerror or error}). {advice}.")


def sha256(content: bytes) -> str:
    """Digest of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


class BlockDigest:
    """SHA-256 over the SHA-256 of each 4 MiB, so that a file can be verified by several threads."""

    def __init__(self) -> None:
        self._blocks = hashlib.sha256()
        self._block = hashlib.sha256()
        self._filled = 0

    def update(self, content: memoryview | bytes) -> None:
        """Take the next bytes."""
        view = memoryview(content).cast("B")
        while view:
            taken = view[: BLOCK - self._filled]
            self._block.update(taken)
            self._filled += len(taken)
            view = view[len(taken) :]
            if self._filled == BLOCK:
                self._end_block()

    def digest(self) -> bytes:
        """The digest of all bytes that were taken; nothing is taken after it."""
        if self._filled:
            self._end_block()
        return self._blocks.digest()

    def _end_block(self) -> None:
        self._blocks.update(self._block.digest())
        self._block, self._filled = hashlib.sha256(), 0


def digest_of(descriptor: int, start: int, stop: int) -> bytes:
    """The `BlockDigest` of bytes [start, stop) of an open file; of fewer where it ends before."""

    def block(first: int) -> bytes:
        return hashlib.sha256(b"".join(_read(descriptor, first, min(BLOCK, stop - first)))).digest()

    whole = hashlib.sha256()
    with ThreadPoolExecutor(_THREADS) as pool:
        for digest in pool.map(block, range(start, stop, BLOCK)):
            whole.update(digest)
    return whole.digest()


def _read(descriptor: int, offset: int, size: int) -> Iterator[bytes]:
    while size:
        got = os.pread(descriptor, size, offset)
        if not got:
            return
        yield got
        offset, size = offset + len(got), size - len(got)


class Verified:
    """Notes of files that were found whole, by size, times and inode: in memory, and in a file where there may be one.

    A file that was changed is read again, whatever its times were set to: the time of change of an inode can't be set.
    """

    def __init__(self, notes: Path | None = None) -> None:
        self._file = notes
        self._known: dict[str, list[Any]] = {}
        if notes is not None:
            with suppress(OSError, ValueError):
                content = json.loads(notes.read_text(encoding="utf-8"))
                self._known = content if isinstance(content, dict) else {}

    def holds(self, name: str, state: os.stat_result) -> bool:
        """Whether the file of this state was found whole, and not too long ago."""
        note = self._known.get(name)
        if not isinstance(note, list) or note[1:] != _facts(state) or not isinstance(note[0], float):
            return False
        return state.st_ctime + _TICK < note[0] <= time.time() < note[0] + _DAYS * 86400

    def note(self, name: str, state: os.stat_result, began: float) -> None:
        """Note that a file was found whole.

        Args:
            name: What it is noted under.
            state: Its state before it was read.
            began: When reading began, in seconds since 1970.
        """
        self._known[name] = [began, *_facts(state)]

    def keep(self) -> None:
        """Write the notes down, if that can be: in a cache that is only read, files are read at each start."""
        if self._file is not None:
            with suppress(EvaError):
                write_text(self._file, json.dumps(self._known))


def _facts(state: os.stat_result) -> list[int]:
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
