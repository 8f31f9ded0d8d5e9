"""Directories of a TIFF, read with bounds: whatever a file holds, its size limits the time and memory that it takes.

Source: TIFF 6.0, section 2; BigTIFF, https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from eva_core.errors import EvaError

_MOST = 1000
"""Directories; a slide has a dozen, one with many focal planes some hundred."""
_MOST_TAGS = 4096
"""Tags of a directory; all together may have 16 times as many."""
_MOST_BYTES = 2**16
"""Bytes of a text or of JPEG tables: what is wanted of them stands at the beginning."""
_MOST_COPIED = 2**26
"""Bytes of a tag that a copy of the directories has: the offsets of 8 million tiles."""
_KINDS = {1: "u1", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 8: "i2", 9: "i4", 10: "i4", 11: "f4", 12: "f8", 13: "u4"}
_KINDS |= {16: "u8", 17: "i8", 18: "u8", 2: "S1", 7: "S1"}
_PAIRS = (5, 10)
_BYTES = {kind: np.dtype(form).itemsize * (2 if kind in _PAIRS else 1) for kind, form in _KINDS.items()}
_NDPI = 65_420
"""Tag of Hamamatsu, whose files hold longer offsets than their header says."""

Span = tuple[int, int]
"""First byte, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Tag:
    """Type and number of the values of a tag, and where they begin."""

    kind: int
    count: int
    offset: int


@dataclass(frozen=True)
class Directory:
    """One directory of the chain.

    Attributes:
        index: Its place in the chain.
        offset: Its first byte.
        link: Where the offset of the next directory stands.
        tags: By code.
    """

    index: int
    offset: int
    link: int
    tags: dict[int, Tag] = field(repr=False)


@dataclass(frozen=True)
class Tiff:
    """The chain of directories of a TIFF, and its values as they are asked for.

    Attributes:
        file: Open for reading.
        size: Its bytes.
        order: `<` or `>`, as struct and numpy write it.
        big: Whether offsets have 8 bytes.
        directories: In the order of the chain.
    """

    file: BinaryIO
    size: int
    order: str
    big: bool
    directories: tuple[Directory, ...]

    def numbers(self, directory: Directory, code: int, most: int = 64) -> np.ndarray:
        """The first values of a tag, (n,), fractions as float64; none where it has none that can be read."""
        tag = directory.tags.get(code)
        if tag is None or tag.kind in (2, 7) or _end(tag) > self.size:
            return np.zeros(0, np.uint64)
        self.file.seek(tag.offset)
        values = np.frombuffer(self.file.read(_length(tag, most)), self.order + _KINDS[tag.kind])
        if tag.kind not in _PAIRS:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios: np.ndarray = values[::2].astype(float) / values[1::2]
        return ratios

    def number(self, directory: Directory, code: int, default: int) -> int:
        """The first value of a tag, as a whole number."""
        values = self.numbers(directory, code, 1)
        return int(values[0]) if len(values) and np.isfinite(values[0]) else default

    def content(self, directory: Directory, code: int) -> bytes:
        """Bytes of a tag, at most 64 kB; none where there is none."""
        tag = directory.tags.get(code)
        if tag is None or _end(tag) > self.size:
            return b""
        self.file.seek(tag.offset)
        return self.file.read(min(_length(tag), _MOST_BYTES))

    def text(self, directory: Directory, code: int) -> str:
        """The beginning of a text."""
        content = self.content(directory, code).partition(b"\0")[0]
        try:
            return content.decode()
        except UnicodeDecodeError:  # as scanners write the micro sign, or cut within a character
            return content.decode("latin-1")

    def spans(self) -> Iterator[Span]:
        """The header, the directories, and the values that lie outside them."""
        yield 0, 16 if self.big else 8
        for directory in self.directories:
            yield directory.offset, directory.link + (8 if self.big else 4)
            for tag in directory.tags.values():
                outside = not directory.offset <= tag.offset < directory.link
                if outside and _length(tag) <= _MOST_COPIED and _end(tag) <= self.size:
                    yield tag.offset, _end(tag)


def read_tiff(file: BinaryIO, path: str) -> Tiff | None:
    """Follow the chain of directories. SubIFDs are no part of it, and are not followed.

    Args:
        file: Open for reading, anywhere.
        path: For messages.

    Returns:
        None where the file is no TIFF, or one of Hamamatsu (NDPI), whose offsets are of another kind.

    Raises:
        EvaError: The chain is a loop, ends beyond the file, or is longer than any slide's.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8 or head[2:4] not in (struct.pack(f"{order}H", 42), struct.pack(f"{order}H", 43)):
        return None
    big = head[2:4] == struct.pack(f"{order}H", 43)
    if big and (len(head) < 16 or struct.unpack_from(f"{order}HH", head, 4) != (8, 0)):
        raise damaged(path, "its header is cut")
    offset = int(struct.unpack_from(f"{order}{'Q' if big else 'I'}", head, 8 if big else 4)[0])
    chain: dict[int, Directory] = {}
    tags = 0
    while offset:
        if offset in chain:
            raise damaged(path, f"its TIFF directory {len(chain)} names an earlier one as the next")
        if len(chain) == _MOST:
            raise damaged(path, f"it has more than {_MOST:,} TIFF directories")
        chain[offset], offset = _directory(file, size, order, big, offset, len(chain), path)
        tags += len(next(reversed(chain.values())).tags)
        if tags > 16 * _MOST_TAGS:
            raise damaged(path, f"its first {len(chain)} TIFF directories have more than {16 * _MOST_TAGS:,} tags")
        if len(chain) == 1 and _NDPI in next(iter(chain.values())).tags:
            return None
    return Tiff(file, size, order, big, tuple(chain.values()))


def damaged(path: str, why: str) -> EvaError:
    """The error of a file whose directories make no slide."""
    return EvaError(f"Expected a slide in {path}, but {why}. Get it again, or leave it out.")


def _directory(
    file: BinaryIO, size: int, order: str, big: bool, offset: int, index: int, path: str
) -> tuple[Directory, int]:
    """A directory, and the offset of the next."""
    count_bytes, entry_bytes, link_bytes, inline = (8, 20, 8, 8) if big else (2, 12, 4, 4)
    form = f"{order}HH{'QQ' if big else 'II'}"
    if offset + count_bytes > size:
        raise damaged(path, f"it ends before its TIFF directory {index}")
    file.seek(offset)
    entries = int(struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(count_bytes))[0])
    link = offset + count_bytes + entries * entry_bytes
    if entries > _MOST_TAGS:
        raise damaged(path, f"its TIFF directory {index} has {entries:,} tags")
    if link + link_bytes > size:
        raise damaged(path, f"it ends before its TIFF directory {index} does")
    content = file.read(entries * entry_bytes + link_bytes)
    tags: dict[int, Tag] = {}
    for n in range(entries):
        code, kind, count, at = struct.unpack_from(form, content, n * entry_bytes)
        if kind not in _KINDS:
            continue  # readers skip types that they do not know (TIFF 6.0, section 2)
        tag = Tag(kind, count, at)
        if _length(tag) <= inline:
            tag = Tag(kind, count, offset + count_bytes + (n + 1) * entry_bytes - inline)
        tags.setdefault(code, tag)
    after = struct.unpack_from(f"{order}{'Q' if big else 'I'}", content, entries * entry_bytes)[0]
    return Directory(index, offset, link, tags), int(after)


def _length(tag: Tag, most: int | None = None) -> int:
    """Bytes of the first values of a tag, or of all."""
    count = tag.count if most is None else min(tag.count, most)
    return count * _BYTES[tag.kind]


def _end(tag: Tag) -> int:
    return tag.offset + _length(tag)
