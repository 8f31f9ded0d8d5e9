"""Writing a store: in parts that survive a kill, joined when all rows are there. Every chunk has a checksum.

A part is an HDF5 file `<store>.<first>-<stop>.part` with the rows of whole batches, fsynced and renamed into place. The
store is written the same way, and then the parts go.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from eva_core.atomic_files import write_text
from eva_core.embeddings import SCHEMA, TEXTS, StoreKey, try_checksums
from eva_core.errors import EvaError
from eva_core.types import Dataset


class PartWriter:
    """Collects batches of named arrays and writes them as parts; a batch is rows [first, first + n) of the store."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self._first: int | None = None
        self._next = 0
        self._batches: list[dict[str, np.ndarray]] = []
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the last part was written."""
        return time.monotonic() - self._since

    @property
    def bytes(self) -> int:
        """Held in memory since then."""
        return sum(values.nbytes for batch in self._batches for values in batch.values())

    def add(self, first: int, batch: dict[str, np.ndarray]) -> None:
        """Take a batch; a part is one stretch of rows, so a gap before it ends the part."""
        if first != self._next:
            self.flush()
        self._next = first + len(next(iter(batch.values())))
        if self._first is None:
            self._first = first
        self._batches.append(batch)

    def flush(self) -> None:
        """Write what was collected as one part, durably."""
        if self._first is None:
            return
        with _durable(Path(f"{self.store}.{self._first:09d}-{self._next:09d}.part")) as file:
            for name in self._batches[0]:
                values = np.concatenate([b[name] for b in self._batches])
                _create(file, name, values.shape, values.dtype)[:] = values
            file.attrs["seconds"] = self.seconds
        self._first, self._batches, self._since = None, [], time.monotonic()


def finished_parts(store: Path) -> dict[tuple[int, int], Path]:
    """Rows [first, stop) already on disk, by range. A part that does not read is removed and done again."""
    parts = {}
    for path in sorted(store.parent.glob(f"{store.name}.*.part")):
        first, stop = (int(n) for n in path.name.split(".")[-2].split("-"))
        try:
            with h5py.File(path, "r") as file:
                intact = all(len(rows) == stop - first for rows in file.values())
                try_checksums(file)
        except OSError:
            intact = False
        if intact:
            parts[first, stop] = path
        else:
            path.unlink()
    return parts


def keep_parts_of(store: Path, layout: str) -> None:
    """Remove the parts of an earlier call whose rows were others: by a file beside them, which goes with the store.

    Args:
        layout: Says which row is what.
    """
    file = Path(f"{store}.layout")
    if file.exists() and file.read_text(encoding="utf-8") == layout:
        return
    for path in finished_parts(store).values():
        path.unlink()
    write_text(file, layout)


def merge(store: Path, key: StoreKey, dataset: Dataset, about: dict[str, Any]) -> None:
    """Join all parts into a store with a row for each sample, then remove them.

    Args:
        about: Facts for the attributes: versions and device.
    """
    join_parts(store, key, len(dataset.samples), sample_columns(dataset), about)


def join_parts(store: Path, key: StoreKey, n: int, columns: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """Join all parts into a store of `n` rows, then remove them.

    Args:
        columns: What is known beforehand; arrays of str become UTF-8.
        about: Facts for the attributes: versions and device.
    """
    parts = finished_parts(store)
    with h5py.File(next(iter(parts.values())), "r") as part:
        names = list(part)
    seconds = sum(_seconds(path) for path in parts.values())
    with _durable(store) as file:
        for name in names:
            _merge_rows(file, name, parts, n)
        for name, values in columns.items():
            if values.dtype.kind in "OU":
                file.create_dataset(name, data=values.tolist(), dtype=h5py.string_dtype())
            else:
                file[name] = values
        file.attrs.update(
            {
                "schema": SCHEMA,
                "n": n,
                "key": key.sha256,
                "identity": json.dumps(key.content, default=str),
                "embed_s": seconds,
                "images_per_s": n / max(seconds, 1e-9),
                **about,
            }
        )
    for path in parts.values():
        path.unlink()
    Path(f"{store}.layout").unlink(missing_ok=True)


def sample_columns(dataset: Dataset) -> dict[str, np.ndarray]:
    """Labels and texts of every sample, as `merge` takes them."""
    samples = dataset.samples
    texts = zip(*((s.id, s.group or "", s.site or "", s.split) for s in samples), strict=True)
    return {
        "targets": np.array([-1 if s.target is None else s.target for s in samples], np.int64),
        **{name: np.array(column, object) for name, column in zip(TEXTS, texts, strict=True)},
    }


def _seconds(part: Path) -> float:
    with h5py.File(part, "r") as file:
        return float(file.attrs["seconds"])


def _merge_rows(file: h5py.File, name: str, parts: dict[tuple[int, int], Path], n: int) -> None:
    out = None
    for (first, stop), path in parts.items():
        with h5py.File(path, "r") as part:
            values = part[name][:]
        if out is None:
            out = _create(file, name, (n, *values.shape[1:]), values.dtype)
        out[first:stop] = values


@contextmanager
def _durable(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file that appears under its name only when whole and on disk."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            yield file
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EvaError(
            f"Could not write {path} ({error}). Free space or set EVA_CACHE elsewhere; finished parts are kept."
        ) from error


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _create(file: h5py.File, name: str, shape: Sequence[int], dtype: Any) -> h5py.Dataset:
    width = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    chunk = max(1, min(shape[0], (1 << 20) // max(width, 1)))
    return file.create_dataset(name, shape, dtype, chunks=(chunk, *shape[1:]), fletcher32=True)
