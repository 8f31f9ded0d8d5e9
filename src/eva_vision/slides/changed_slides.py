"""The state of a slide: one that has changed since it was indexed is not read by the old index."""

import hashlib
import os
from functools import lru_cache
from typing import NamedTuple

from eva_core.errors import EvaError
from eva_vision.slides.index_files import Entry
from eva_vision.slides.reading.blobs import Blob, head, is_url
from eva_vision.slides.reading.open import open_by
from eva_vision.slides.reading.readers import reader
from eva_vision.slides.reading.slide import NotOpened

_BLOCK, _BLOCKS = 2**12, 32


class State(NamedTuple):
    """The state of a slide, as the system tells it without reading the file.

    Attributes:
        bytes: Size.
        modified: Time of modification in nanoseconds; 0 for an object.
        version: The ETag of an object, else its time; empty for a file.
    """

    bytes: int
    modified: int
    version: str = ""


def state_of(path: str) -> State:
    """The state of a file or an object.

    Raises:
        EvaError: It is gone, or cannot be reached.
    """
    if is_url(path):
        described = Blob(path).described()
        return State(described.size, 0, described.version)
    try:
        info = os.stat(path)
    except OSError as error:
        raise EvaError(f"Expected a slide at {path}, but it cannot be read ({error.strerror}).") from error
    return State(info.st_size, info.st_mtime_ns)


def head_hash(path: str, size: int) -> str:
    """SHA-256 of the first 64 kB of a slide and its size."""
    return hashlib.sha256(head(path, size) + str(size).encode()).hexdigest()


def sample_hash(path: str, size: int) -> str:
    """SHA-256 of 32 blocks of 4 kB from the first to the last of a file; empty for an object, which has a version."""
    if is_url(path):
        return ""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for number in range(_BLOCKS):
            file.seek(max(0, size - _BLOCK) * number // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def refuse_changed(entry: Entry, state: bytes) -> None:
    """Raise where a slide is not what was indexed. Another time or version alone changes nothing.

    Args:
        entry: What the index knows of it.
        state: What its reader left there; empty where a reader needs nothing.

    Raises:
        EvaError: It has changed, is gone, or cannot be reached.
    """
    now = state_of(entry.path)
    if now == State(entry.bytes, entry.modified, entry.version):
        return
    if now.bytes != entry.bytes or not _same_content(entry, state, now):
        cut = f": the file is cut to {now.bytes:,} of {entry.bytes:,} bytes" if now.bytes < entry.bytes else ""
        raise EvaError(
            f"Expected {entry.path} as it was indexed, but it has changed since{cut}. Run `eva slides index` on it "
            "again."
        )


@lru_cache(1024)
def _same_content(entry: Entry, state: bytes, now: State) -> bool:
    """Whether a slide of the same size holds the same; where each tile lies tells it apart from nearly all others."""
    try:
        if (head_hash(entry.path, now.bytes), sample_hash(entry.path, now.bytes)) != (entry.sha256, entry.sample):
            return False
        if not state and is_url(entry.path):  # it would be copied whole to look at it
            return False
        with open_by(entry.reader, entry.path, entry.given_mpp, None) as slide:
            levels = tuple((level.width, level.height) for level in slide.levels)
            same = (levels, slide.mpp) == (entry.levels, entry.mpp)
            return same and reader(entry.reader).state(slide) == state
    except NotOpened:
        return False
    except OSError as error:
        raise EvaError(f"Expected a slide at {entry.path}, but it cannot be read ({error.strerror}).") from error
