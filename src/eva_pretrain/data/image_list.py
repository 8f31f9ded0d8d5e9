"""List of the images of a folder: files, and those in shards; kept as a Parquet file, so that it is made once.

Ten million names take 0.5 GB as Arrow has them and 1.5 GB as Python objects, which each worker would copy as it reads.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eva_core.errors import EvaError, UsageError, some
from eva_core.files.atomic_files import make_folder, write_bytes
from eva_core.files.sealed_records import SEAL, seal_of
from eva_core.files.walk import ordinary, walk
from eva_core.progress import say
from eva_pretrain.data.shards import FACTS, SHARDS, ShardLister, ShardReader, is_list
from eva_vision.images import SUFFIXES, is_image

INDEXED = 100_000
"""Number of images from which a run keeps the list; of fewer, and no shards, the folder is listed at each start."""
RUN = ("key", "config.yaml")
"""Files by which the folder of a run is known: what it draws there are no patches."""
_CHUNK, _OFTEN = 2**16, 16
_PLACE, _DIGEST = ("bytes", "offset", "shard"), "digest"
_SCHEMA = pa.schema([("path", pa.large_binary()), ("bytes", pa.int64()), ("offset", pa.int64()), ("shard", pa.int32())])


class _Row(NamedTuple):
    """An image: its path below the folder, and its place, as `shards.Place` has it; -1 where it is a file."""

    path: bytes
    bytes: int
    offset: int = -1
    shard: int = -1


class ImageList(Sequence[str]):
    """Paths of images below a folder, sorted; those of images in a shard begin with that of the shard.

    Attributes:
        root: The folder.
        contents: Hash of all paths and sizes.
    """

    def __init__(self, root: Path, table: pa.Table, shards: Sequence[str], contents: str) -> None:
        """Wrap a table with the column `path` and, where there are shards, `bytes`, `offset` and `shard`."""
        self.root, self.contents, self._shards = root, contents, list(shards)
        self._table = table.combine_chunks()  # one piece, whose memory is not held twice
        self._paths = self._table.column("path").chunk(0)
        self._places = {name: self._table.column(name).to_numpy() for name in (_PLACE if self._shards else ())}
        self._reader = ShardReader()

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> list[str]: ...

    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [os.fsdecode(path) for path in self._paths[number].to_pylist()]
        return os.fsdecode(self._paths[number].as_py())

    def take(self, rows: np.ndarray) -> "ImageList":
        """List some of the images, in the order of their numbers."""
        table = self._table.take(rows)
        if "bytes" in table.column_names:
            return ImageList(self.root, table, self._shards, _contents(table))
        chosen = hashlib.sha256(self.contents.encode() + rows.tobytes()).hexdigest()
        return ImageList(self.root, table, self._shards, chosen)

    def read(self, number: int) -> bytes:
        """Read the bytes of an image file, or of an image in a shard.

        Raises:
            OSError: It does not read, or the shard ends before.
            ArrowException: The part of the shard is damaged.
        """
        if not self._shards or self._places["shard"][number] < 0:
            return (self.root / self[number]).read_bytes()
        size, offset, shard = (int(self._places[name][number]) for name in ("bytes", "offset", "shard"))
        return self._reader.read(self.root / self._shards[shard], size, offset)


def image_list(folder: Path, kept: Path | None = None) -> ImageList:
    """List the images below a folder. Hidden files are passed over; of a file with several names, one counts.

    Args:
        folder: The folder, a shard, or the Parquet file in which an earlier run kept its list.
        kept: File in the folder of a run, below `index`, in which the list is kept where there are many images or
            shards, or the run draws into the folder itself, and from which it is taken.

    Raises:
        UsageError: The folder has no image.
        EvaError: The list that is kept does not read.
    """
    if folder.is_file():
        return _read(folder) if _is_list(folder) else _alone(folder)
    root = Path(os.path.realpath(folder))
    if kept is not None and kept.is_file() and (known := _read(kept)).root == root:
        say(f"{len(known):,} images of {folder}, as listed in {kept}. Delete it to list them again.")
        return known
    table, shards = _listed(folder)
    _refuse_none(table, folder)
    listed = ImageList(folder, table, shards, _contents(table))
    if kept is not None and (len(table) >= INDEXED or shards or root == Path(os.path.realpath(kept.parents[1]))):
        _write(
            kept,
            table,
            {
                "root": str(root),
                "shards": shards,
                "sizes": [*map(_size, _below(folder, shards))],
                "contents": listed.contents,
            },
        )
        return _read(kept)
    return listed


def _is_list(file: Path) -> bool:
    try:
        return is_list(pq.read_schema(file))
    except (OSError, ValueError, pa.ArrowException):  # a shard, which may be damaged
        return False


def _alone(shard: Path) -> ImageList:
    """List a shard by itself."""
    shards: list[str] = []
    files = [(shard.name, shard.stat().st_size)] if shard.name.endswith(SHARDS) else []
    table = _sorted(_rows(shard.parent, iter(files), shards))
    assert table is not None
    _refuse_none(table, shard)
    return ImageList(shard.parent, table, shards, _contents(table))


def _refuse_none(table: pa.Table, folder: Path) -> None:
    if not len(table):
        kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise UsageError(f"Expected images ({kinds}) in {folder}, but there is none. Check the path.")


def _listed(folder: Path) -> tuple[pa.Table, list[str]]:
    """Table of the images below a folder, and the shards that hold some of them."""
    shards, runs = list[str](), set[str]()

    def enter(path: str) -> bool:
        if ordinary(path) and all((folder / path / name).is_file() for name in RUN):
            runs.add(path)
        return ordinary(path) and path not in runs

    table = _sorted(_rows(folder, _plain_files(folder, enter), shards))
    if table is None:  # links, or what cannot be looked at: slower, as each file is remembered
        listing = walk(folder, _wanted, enter)
        if listing.failed:
            failed = [f"{path or folder} ({reason})" for path, reason in listing.failed.items()]
            say(f"{len(failed)} places in {folder} could not be looked at: {some(failed)}.")
        files = ((path, info.st_size) for path, info in listing.files.items())
        table = _sorted(_rows(folder, files, shards))
    if runs:
        say(f"Folders of runs are no patches, and left out: {some(sorted(runs))}.")
    assert table is not None
    return table, shards


def _wanted(path: str) -> bool:
    return ordinary(path) and (is_image(path) or path.endswith(SHARDS))


def _plain_files(folder: Path, enter: Callable[[str], bool]) -> Iterator[tuple[str, int] | None]:
    """Path and size of each image and shard below a folder; None at the first thing that only `walk` can tell."""
    pending = [""]
    try:
        while pending:
            below = pending.pop()
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    path = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_symlink():
                        yield None
                    if entry.is_dir(follow_symlinks=False):
                        if enter(path):
                            pending.append(path)
                    elif _wanted(path):
                        info = entry.stat(follow_symlinks=False)
                        yield (path, info.st_size) if info.st_nlink == 1 and entry.is_file() else None
    except OSError:
        yield None


def _rows(folder: Path, files: Iterator[tuple[str, int] | None], shards: list[str]) -> Iterator[_Row | None]:
    """Rows of the list: image files, then the images in shards, and these are noted."""
    pending = []
    for file in files:
        if file is None:
            yield None
            return
        if file[0].endswith(SHARDS):
            pending.append(file)
        else:
            yield _Row(os.fsencode(file[0]), file[1])
    lister = ShardLister(folder)
    for path, size in sorted(pending):
        for place in lister.images(path, size):
            if path not in shards[-1:]:
                shards.append(path)
            yield _Row(os.fsencode(f"{path}/{place.name}"), place.bytes, place.offset, len(shards) - 1)
    lister.report()


def _sorted(rows: Iterator[_Row | None]) -> pa.Table | None:
    """Table of all rows, by path; None where one is None."""
    batches, chunk = list[pa.RecordBatch](), list[_Row]()
    for row in rows:
        if row is None:
            return None
        chunk.append(row)
        if len(chunk) == _CHUNK:
            batches.append(_batch(chunk))
            chunk.clear()
            if len(batches) % _OFTEN == 0:
                say(f"{len(batches) * _CHUNK:,} images are listed so far.")
    return pa.Table.from_batches([*batches, _batch(chunk)], _SCHEMA).sort_by("path")


def _batch(rows: Sequence[_Row]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA)


def _contents(table: pa.Table) -> str:
    """SHA-256 of a line of path and size for each image."""
    digest, first = hashlib.sha256(), True
    for batch in table.select(["path", "bytes"]).to_batches(max_chunksize=_CHUNK):
        pairs = zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
        digest.update((b"" if first else b"\n") + b"\n".join(b"%b %d" % pair for pair in pairs))
        first = False
    return digest.hexdigest()


def _write(path: Path, table: pa.Table, facts: dict[str, Any]) -> None:
    """Write the list, whole or not at all."""
    facts = {**facts, _DIGEST: _digest(table.combine_chunks(), facts["shards"])}
    sealed = table.replace_schema_metadata({FACTS: json.dumps({**facts, SEAL: seal_of(facts)})})
    sink = pa.BufferOutputStream()
    pq.write_table(sealed, sink, compression="zstd")
    make_folder(path.parent)
    write_bytes(path, sink.getvalue())


def _digest(table: pa.Table, shards: Sequence[str]) -> str:
    """SHA-256 of what is read of a list: a pass over its memory, where `_contents` makes an object of each name."""
    digest, paths = hashlib.sha256(), table.column("path").chunk(0)
    _, ends, joined = paths.buffers()
    numbers = np.frombuffer(ends, np.int64 if pa.types.is_large_binary(paths.type) else np.int32)[: len(paths) + 1]
    for start in range(0, len(numbers), _CHUNK):
        digest.update(numbers[start : start + _CHUNK].astype("<i8").tobytes())
    digest.update(memoryview(joined)[: numbers[-1]])
    for column in (table.column(name) for name in (_PLACE if shards else ())):
        for chunk in column.chunks:
            digest.update(chunk.to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _paths(path: Path) -> pa.Array:
    """Read the paths of a list into one piece of memory, without a second copy on the way."""
    file = pq.ParquetFile(path)
    ends, joined, at = np.zeros(file.metadata.num_rows + 1, np.int64), bytearray(), 0
    for batch in file.iter_batches(_CHUNK, columns=["path"], use_threads=False):
        part = batch.column(0)
        offsets = np.frombuffer(part.buffers()[1], np.int64)[part.offset : part.offset + len(part) + 1]
        ends[at + 1 : at + 1 + len(part)] = len(joined) + offsets[1:] - offsets[0]
        joined += memoryview(part.buffers()[2])[offsets[0] : offsets[-1]]
        at += len(part)
    short = len(joined) < 2**31
    numbers = ends.astype(np.int32) if short else ends
    buffers = [None, pa.py_buffer(numbers), pa.py_buffer(joined)]
    pa.default_memory_pool().release_unused()
    return pa.Array.from_buffers(pa.binary() if short else pa.large_binary(), len(ends) - 1, buffers)


def _read(path: Path) -> ImageList:
    try:
        facts = json.loads(pq.read_schema(path).metadata[FACTS])
        if facts[SEAL] != seal_of(facts):
            raise ValueError("it is damaged")
        _refuse_changed(path, _below(Path(facts["root"]), facts["shards"]), facts["sizes"])
        table = pa.table({"path": _paths(path)})
        if facts["shards"]:
            places = pq.read_table(path, columns=[*_PLACE])
            for name in _PLACE:
                table = table.append_column(name, places.column(name))
        if facts[_DIGEST] != _digest(table, facts["shards"]):
            raise ValueError("it is damaged")
        return ImageList(Path(facts["root"]), table, facts["shards"], facts["contents"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise EvaError(
            f"Expected the list of images that `eva pretrain` keeps in {path}, but it does not read ({reason}). Delete "
            "it, and give the folder."
        ) from error


def _below(folder: Path, paths: Sequence[str]) -> list[Path]:
    return [folder / path for path in paths]


def _refuse_changed(kept: Path, shards: Sequence[Path], sizes: Sequence[int]) -> None:
    """Refuse a list whose shards are not as they were: other bytes lie where it says that images are."""
    changed = [str(shard) for shard, size in zip(shards, sizes, strict=True) if _size(shard) != size]
    if changed:
        raise EvaError(
            f"Expected shards as {kept} lists them, but {some(changed)} changed or went away. Restore them, or delete "
            "the list: it is made again."
        )


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return -1
