"""HDF5 files of which every byte is under a checksum, tried before HDF5 sees the file.

HDF5 may hang on a flipped bit, and dies of a full disk. So it lays a file out in memory, without the arrays, which are
written past it in the order of the file. The block before, which HDF5 leaves to its users, holds the length and the
digest of the rest.
"""

import fcntl
import os
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from eva_core.errors import EvaError
from eva_core.files.atomic_files import refuse_without_room, replacing
from eva_core.files.checksums import BlockDigest, Damaged, Verified, digest_of, not_read

_HEAD = struct.Struct("<8sQ32s20s444x")
"""Magic, length of the file, digest of all behind the superblock's flags, and what stands before those."""
_FLAGS = slice(_HEAD.size + 20, _HEAD.size + 24)
"""HDF5 sets them while somebody has the file open for writing: that alone changes nothing."""
_MAGIC = b"eva-sum1"
_LONG, _LONGEST = "long-", 10_000
"""An attribute of HDF5 has room for 64 kB; a longer one is an array of this prefix."""
_verified = Verified()


@dataclass(frozen=True)
class Column:
    """An array to be written, block by block.

    Attributes:
        shape: Its shape, (n, ...).
        dtype: Its dtype of numpy; strings as `h5py.string_dtype` of a fixed length.
        blocks: Gives the rows in order.
    """

    shape: tuple[int, ...]
    dtype: Any
    blocks: Callable[[], Iterable[np.ndarray]]


def column(values: np.ndarray) -> Column:
    """An array as a column; texts become UTF-8 of one length, as HDF5 keeps those of any length where flips hang it."""
    if values.dtype.kind in "OU":
        encoded = [str(text).encode("utf-8", "surrogateescape") for text in values]
        length = max(map(len, encoded), default=0) or 1
        values, dtype = np.array(encoded, f"S{length}"), h5py.string_dtype("utf-8", length)
        return Column(values.shape, dtype, lambda: [values])
    return Column(values.shape, values.dtype, lambda: [values])


def texts(dataset: h5py.Dataset) -> np.ndarray:
    """An array of str (n,) that `column` wrote."""
    return np.array([text.decode("utf-8", "surrogateescape") for text in dataset[:]], object)


def attributes(file: h5py.File) -> dict[str, Any]:
    """The attributes that `write` was given."""
    short = {name: value.decode() if isinstance(value, bytes) else value for name, value in file.attrs.items()}
    return short | {name.removeprefix(_LONG): texts(file[name])[0] for name in file if name.startswith(_LONG)}


def write(path: Path, columns: Mapping[str, Column], facts: Mapping[str, Any]) -> None:
    """Write a file, durably.

    Args:
        path: The file that is to be.
        columns: The arrays, by name.
        facts: The attributes: numbers and strings.
    Raises:
        EvaError: There is no room.
    """
    long = {name: value for name, value in facts.items() if isinstance(value, str) and len(value) > _LONGEST}
    columns = {**columns, **{_LONG + name: column(np.array([value])) for name, value in long.items()}}
    layout, offsets = _lay_out(columns, {name: value for name, value in facts.items() if name not in long})
    refuse_without_room(path, layout.end)
    with replacing(path, layout.end) as file:
        begin = layout.take(_FLAGS.stop)
        file.write(begin)
        digest, at = BlockDigest(), _FLAGS.stop
        for offset, content in _in_order(layout, columns, offsets):
            at = _put(file, digest, at, offset, content)
        _put(file, digest, at, layout.end, b"")
        file.seek(0)
        file.write(_HEAD.pack(_MAGIC, layout.end, digest.digest(), begin[_HEAD.size : _FLAGS.start]))


class _Layout:
    """Takes what HDF5 writes to a file, by place: little, as the arrays are left out."""

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}
        self.end = self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, content: Any) -> int:
        first, stop = self._at, self._at + len(content)
        touched = {at: piece for at, piece in self.pieces.items() if at < stop and first < at + len(piece)}
        start = min([first, *touched])
        joined = bytearray(max([stop, *(at + len(piece) for at, piece in touched.items())]) - start)
        for at, piece in [*touched.items(), (first, content)]:
            joined[at - start : at - start + len(piece)] = piece
            self.pieces.pop(at, None)
        self.pieces[start] = bytes(joined)
        self._at, self.end = stop, max(self.end, stop)
        return len(content)

    def readinto(self, out: Any) -> int:
        out[:] = bytes(len(out))
        for offset, piece in self.pieces.items():
            first, stop = max(offset, self._at), min(offset + len(piece), self._at + len(out))
            if first < stop:
                out[first - self._at : stop - self._at] = piece[first - offset : stop - offset]
        self._at += len(out)
        return len(out)

    def read(self, size: int) -> bytes:
        out = bytearray(size)
        self.readinto(out)
        return bytes(out)

    def truncate(self, size: int) -> int:
        self.end = size
        return size

    def take(self, size: int) -> bytes:
        """The first bytes, which are then no longer here."""
        self.seek(0)
        begin = self.read(size)
        rest = {at: piece for at, piece in self.pieces.items() if at + len(piece) > size}
        self.pieces = {max(at, size): piece[max(0, size - at) :] for at, piece in rest.items()}
        return begin

    def flush(self) -> None:
        """Nothing is held back."""


def _lay_out(columns: Mapping[str, Column], facts: Mapping[str, Any]) -> tuple[_Layout, dict[str, int]]:
    """All of a file but its arrays, and where each of those lies."""
    layout, offsets = _Layout(), {}
    # the earliest format: later ones are marked, and so changed, where somebody opens them for writing
    with h5py.File(layout, "w", libver=("earliest", "v108"), userblock_size=_HEAD.size) as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_layout(h5py.h5d.CONTIGUOUS)
        creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        for name, values in columns.items():
            kind = h5py.h5t.py_create(values.dtype, logical=True)
            dataset = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(values.shape), creation)
            if dataset.get_storage_size():
                offsets[name] = dataset.get_offset()
        for name, value in facts.items():
            if isinstance(value, str):
                encoded = value.encode()
                file.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", len(encoded) or 1))
            else:
                file.attrs[name] = value
    return layout, offsets


def _in_order(
    layout: _Layout, columns: Mapping[str, Column], offsets: dict[str, int]
) -> Iterator[tuple[int, memoryview | bytes]]:
    """What lies where, from the start of the file to its end."""
    pieces: list[tuple[int, bytes | str]] = [*layout.pieces.items(), *((at, name) for name, at in offsets.items())]
    for offset, piece in sorted(pieces, key=lambda entry: entry[0]):
        if isinstance(piece, bytes):
            yield offset, piece
            continue
        rows = 0
        for block in columns[piece].blocks():
            if len(block):
                yield offset, np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
                offset, rows = offset + block.nbytes, rows + len(block)
        if rows != columns[piece].shape[0]:
            raise ValueError(f"Expected {columns[piece].shape[0]} rows of {piece}, but got {rows}.")


def _put(file: BinaryIO, digest: BlockDigest, at: int, offset: int, content: memoryview | bytes) -> int:
    """Write at an offset, zeros before it where nothing lies; returns where the file ends."""
    if offset < at:
        raise AssertionError(f"Expected room at {offset}, but the file is written up to {at}.")
    for part in (bytes(offset - at), content):
        if part:
            file.write(part)
            digest.update(part)
    return offset + len(content)


def there(path: Path) -> bool:
    """Whether there is a file.

    Raises:
        EvaError: That cannot be seen.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise not_read(path, error) from error
    return True


def verify(path: Path, notes: Verified | None = None) -> None:
    """Read a file and compare its digest, unless that was done before.

    Args:
        path: The file.
        notes: Notes of the files that were whole when they were last read; those of this process unless given.
    Raises:
        Damaged: It is not as it was written.
        EvaError: It could not be read.
    """
    name = str(path.absolute())
    try:
        with path.open("rb") as file:
            state, began = os.fstat(file.fileno()), time.time()
            if _verified.holds(name, state):
                return
            if notes is not None and notes.holds(path.name, state):
                _verified.note(name, state, began)
                return
            begin = os.pread(file.fileno(), _FLAGS.stop, 0).ljust(_FLAGS.stop, b"\0")
            magic, length, digest, superblock = _HEAD.unpack(begin[: _HEAD.size])
            if magic != _MAGIC or length != state.st_size or superblock != begin[_HEAD.size : _FLAGS.start]:
                _refuse_in_use(file, path)
                raise Damaged(f"{path} is damaged, or of an earlier version of eva: it has no checksum, or is cut.")
            if digest_of(file.fileno(), _FLAGS.stop, length) != digest:
                _refuse_in_use(file, path)
                raise Damaged(f"{path} is damaged: its checksum is not that of its content.")
    except OSError as error:
        raise not_read(path, error) from error
    _verified.note(name, state, began)
    if notes is not None:
        notes.note(path.name, state, began)
        notes.keep()


def _refuse_in_use(file: BinaryIO, path: Path) -> None:
    """Refuse a file that another program is changing, by the lock that HDF5 takes for that."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise EvaError(f"{path} is being changed by another program. Close it there and run again.") from error
    except OSError:
        return  # no locks there, so nobody holds one


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """A file open for reading, once verified; what HDF5 raises all the same is said in a line.

    It is not locked, so that others may look at it: it is never written again.

    Raises:
        Damaged: It is not as it was written, or holds other things than expected.
        EvaError: It could not be read.
    """
    verify(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        number = getattr(error, "errno", None) or next(map(int, re.findall(r"errno = (\d+)", str(error))), None)
        if number is not None:
            raise not_read(path, OSError(number, os.strerror(number))) from error
        raise Damaged(f"{path} is not what this version of eva writes ({' '.join(str(error).split())}).") from error
