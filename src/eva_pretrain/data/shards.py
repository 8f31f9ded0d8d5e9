"""Shards of images: members of tar files, and rows of Parquet files, read in place.

A Parquet shard has one column of encoded images: a struct with a binary field `bytes`, as the Image feature of Hugging
Face's datasets is stored, or a binary column of a usual name. Its row n is read with the row group that it lies in.
"""

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from typing_extensions import override

from eva_core.errors import some
from eva_core.files.walk import ordinary
from eva_core.progress import say
from eva_vision.images import is_image

SHARDS = (".tar", ".parquet")
FACTS = b"eva"
"""Key of the metadata of a Parquet file that we wrote ourselves: a list, and no shard."""
_NAMES = {"image", "img", "jpg", "jpeg", "png", "webp", "tif", "tiff", "bytes"}
"""Names of binary columns that hold encoded images, in lower case."""
_BINARY, _TEXT = (pa.binary(), pa.large_binary()), (pa.string(), pa.large_string())
_HELD = 64 * 2**20
"""Bytes of row groups that a worker keeps; a larger one is read anew for each image, which is said."""
_OPEN = 64
"""Parquet shards that a worker keeps open, of which each takes 0.1 MB of memory for its footer."""


class Place(NamedTuple):
    """An image of a shard.

    Attributes:
        name: Its name within the shard.
        bytes: Its size; in a Parquet file that of its part of the row group, as stored: its own is known only once all
            images are read. So the hash of a list is that of the shards as they are divided now.
        offset: Its first byte in a tar file, or the number of its row in a Parquet file.
    """

    name: str
    bytes: int
    offset: int


class _Column(NamedTuple):
    """Column of encoded images: its name, what holds their bytes, and what their paths, as Parquet has them."""

    name: str
    content: str
    path: str | None


@dataclass
class ShardLister:
    """Lists the images of the shards below a folder.

    Attributes:
        folder: The folder.
        left_out: Shards that are not listed, or only in part, with the reason of each.
        slow: Parquet shards with row groups that are too large to be kept.
    """

    folder: Path
    left_out: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)

    def images(self, path: str, size: int) -> Iterator[Place]:
        """List a shard of `size` bytes, up to where it does not read."""
        try:
            yield from self._members(path, size) if path.endswith(".tar") else self._rows(path)
        except (tarfile.TarError, OSError, ValueError, pa.ArrowException) as error:  # a number that is none: ValueError
            self.left_out.append(f"{path} ({' '.join(str(error).split())})")

    def report(self) -> None:
        """Say what was left out, and what is slow."""
        if self.left_out:
            say(f"Shards are left out, whole or from where they do not read: {some(self.left_out)}.")
        if self.slow:
            say(
                f"Row groups of more than {_HELD >> 20} MB in {some(self.slow)}: each image costs a whole one. Write "
                "shards with row_group_size=100."
            )

    def _members(self, path: str, size: int) -> Iterator[Place]:
        with tarfile.open(self.folder / path, "r:") as members:
            while (member := members.next()) is not None:
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"it ends amid {member.name!r}")
                if member.isfile() and not member.sparse and ordinary(member.name) and is_image(member.name):
                    yield Place(member.name, member.size, member.offset_data)
                members.members = []  # type: ignore[attr-defined]  # else it remembers each

    def _rows(self, path: str) -> Iterator[Place]:
        """List rows by number, and by their path, where a column has it: TCGA barcodes are found there."""
        with pa.OSFile(os.fsencode(self.folder / path)) as source:
            shard = pq.ParquetFile(source, buffer_size=2**20)  # reads no more of a row group than it is asked for
            if is_list(shard.schema_arrow):
                return
            column, row, empty = _image_column(shard.schema_arrow), 0, 0
            first = [*range(shard.num_row_groups)[:1]]  # raises if it is encrypted, of which `column` would end Python
            next(shard.iter_batches(1, row_groups=first, columns=[column.content], use_threads=False), None)
            at = [shard.schema.column(n).path for n in range(len(shard.schema))].index(column.content)
            for group in range(shard.num_row_groups):
                chunk = shard.metadata.row_group(group).column(at)
                if chunk.total_uncompressed_size > _HELD and path not in self.slow:
                    self.slow.append(path)
                for name, there in zip(_paths(shard, group, column), _there(shard, group, column, chunk), strict=True):
                    if there:
                        yield Place(f"{row:08d}/{name.lstrip('/')}".rstrip("/"), chunk.total_compressed_size, row)
                    row, empty = row + 1, empty + (not there)
            if empty:
                self.left_out.append(f"{path} ({empty} of {row} rows, which have no bytes)")


def is_list(schema: pa.Schema) -> bool:
    """Whether a Parquet file is a list that a run keeps."""
    return FACTS in (schema.metadata or {})


class ShardReader:
    """Reads images from shards; of Parquet files, the row groups that were read last are kept, within a bound."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self._opened: dict[Path, _Opened] = {}
        self._groups: dict[tuple[Path, int], pa.ChunkedArray] = {}
        self._held = 0  # bytes of these groups

    @override
    def __reduce__(self) -> tuple[type["ShardReader"], tuple[()]]:
        """Copy as a reader that has nothing read: workers that are spawned open shards themselves."""
        return ShardReader, ()

    def read(self, shard: Path, size: int, offset: int) -> bytes:
        """Read an image by its place.

        Raises:
            OSError: The shard ends before, or has changed.
            ArrowException: The row group is damaged.
        """
        if shard.suffix == ".parquet":
            return self._row(shard, offset)
        with open(shard, "rb", buffering=0) as file:
            content = os.pread(file.fileno(), size, offset)
        if len(content) < size:
            raise OSError("the shard is cut short")
        return content

    def _row(self, path: Path, row: int) -> bytes:
        if path not in self._opened:
            if len(self._opened) == _OPEN:
                del self._opened[next(iter(self._opened))]
            self._opened[path] = _Opened(path)
        shard = self._opened[path]
        group = int(np.searchsorted(shard.starts, row, "right")) - 1
        if row >= shard.starts[-1]:
            raise OSError("the shard is cut short")
        content: bytes | None = self._group(shard, group)[row - int(shard.starts[group])].as_py()
        if content is None:
            raise OSError("the shard has changed since it was listed")
        return content

    def _group(self, shard: "_Opened", group: int) -> pa.ChunkedArray:
        place = shard.path, group
        if place not in self._groups:
            images = _part(shard.file, group, shard.column.content)
            if images.nbytes > _HELD:
                return images
            while self._held + images.nbytes > _HELD:
                self._held -= self._groups.pop(next(iter(self._groups))).nbytes
            self._groups[place] = images
            self._held += images.nbytes
        return self._groups[place]


class _Opened:
    """An open Parquet shard, its column of images, and the first row of each group; last the number of rows."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, pq.ParquetFile(pa.OSFile(os.fsencode(path)))
        self.column = _image_column(self.file.schema_arrow)
        groups = range(self.file.num_row_groups)
        self.starts = np.cumsum([0, *(self.file.metadata.row_group(group).num_rows for group in groups)])


def _image_column(schema: pa.Schema) -> _Column:
    """Find the column of encoded images.

    Raises:
        ValueError: There is none, or several.
    """
    columns = [column for field in schema if (column := _encoded(field, schema)) is not None]
    if len(columns) != 1:
        which = f"several columns of encoded images: {some(c.name for c in columns)}" if columns else "no image column"
        raise ValueError(f"it has {which}")
    return columns[0]


def _encoded(column: pa.Field, schema: pa.Schema) -> _Column | None:
    """Where a column of encoded images has their bytes and paths; None of another column."""
    if pa.types.is_struct(column.type):
        fields, content, prefix = pa.schema([*column.type]), "bytes", f"{column.name}."
    elif column.name.lower() in _NAMES:
        fields, content, prefix = schema, column.name, ""
    else:
        return None
    if not _has(fields, content, _BINARY):
        return None
    return _Column(column.name, prefix + content, f"{prefix}path" if _has(fields, "path", _TEXT) else None)


def _has(fields: pa.Schema, name: str, types: Sequence[pa.DataType]) -> bool:
    at = fields.get_all_field_indices(name)
    return len(at) == 1 and fields.types[at[0]] in types


def _there(shard: pq.ParquetFile, group: int, column: _Column, chunk: Any) -> list[bool]:
    """Whether each row of a group has bytes; these are read only where the footer does not say that all have."""
    known = chunk.statistics
    if known is not None and known.has_null_count and known.null_count == 0:
        return [True] * shard.metadata.row_group(group).num_rows
    there: list[bool] = _part(shard, group, column.content).is_valid().to_pylist()
    return there


def _paths(shard: pq.ParquetFile, group: int, column: _Column) -> list[str]:
    """Path of each row of a group; empty where unknown."""
    if column.path is None:
        return [""] * shard.metadata.row_group(group).num_rows
    return [path or "" for path in _part(shard, group, column.path).to_pylist()]


def _part(shard: pq.ParquetFile, group: int, name: str) -> pa.ChunkedArray:
    """Column of a row group, or field of one, by its name as Parquet has it."""
    column = shard.read_row_group(group, columns=[name], use_threads=False).column(0)
    return pc.struct_field(column, [0]) if pa.types.is_struct(column.type) else column
