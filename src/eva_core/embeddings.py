"""Embedding store: one HDF5 file per key, written in parts, resumed after a kill, verified when opened.

A part is an HDF5 file `<store>.<first>-<stop>.part` with the rows of whole batches, fsynced and renamed into place.
When all rows are there they are merged into the store the same way and the parts go. Every chunk has a checksum.
"""

import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from filelock import FileLock, Timeout

from eva_core.errors import EvaError
from eva_core.progress import say
from eva_core.types import Dataset, Embedded

ROWS = ("embeddings", "colour_stats", "signature", "short_side", "readable")
TEXTS = ("ids", "groups", "sites", "split")
SCHEMA = 2
BLOCK = 8192


def cache_root() -> Path:
    """Where stores live: `EVA_CACHE`, else `~/.cache/eva`."""
    return Path(os.environ.get("EVA_CACHE", "~/.cache/eva")).expanduser()


def digest(content: Any) -> str:
    """SHA-256 of anything JSON can hold, independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class StoreKey:
    """What an embedding depends on, and so the identity of a store."""

    model: str
    dataset: str
    content: dict[str, Any]

    @property
    def sha256(self) -> str:
        return digest(self.content)

    @property
    def path(self) -> Path:
        safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", self.model)
        return cache_root() / self.dataset / f"{safe}-{self.sha256[:12]}.h5"


@contextmanager
def locked(path: Path, tell: Callable[[str], None] = say) -> Iterator[None]:
    """Hold the store for this process; a second process on the same key waits, then finds the work done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(f"Waiting for another process that writes {path.name}.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class PartWriter:
    """Collects batches and writes them out as parts. A batch is rows [first, first + n) of the dataset."""

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

    def add(self, first: int, batch: dict[str, np.ndarray]) -> None:
        """Take a batch; a part is one stretch of rows, so a gap before it ends the part."""
        if first != self._next:
            self.flush()
        self._next = first + len(batch["embeddings"])
        if self._first is None:
            self._first = first
        self._batches.append(batch)

    def flush(self) -> None:
        """Write what was collected as one part, durably."""
        if self._first is None:
            return
        rows = {name: np.concatenate([b[name] for b in self._batches]) for name in ROWS}
        stop = self._first + len(rows["embeddings"])
        with _durable(Path(f"{self.store}.{self._first:09d}-{stop:09d}.part")) as file:
            for name, values in rows.items():
                _write(file, name, values)
            file.attrs["seconds"] = self.seconds
        self._first, self._batches, self._since = None, [], time.monotonic()


def finished_parts(store: Path) -> dict[tuple[int, int], Path]:
    """Rows [first, stop) already on disk, by range. A part that does not read is removed and done again."""
    parts = {}
    for path in sorted(store.parent.glob(f"{store.name}.*.part")):
        first, stop = (int(n) for n in path.name.split(".")[-2].split("-"))
        try:
            with h5py.File(path, "r") as file:
                intact = len(file["embeddings"][:]) == stop - first
        except (OSError, KeyError):
            intact = False
        if intact:
            parts[first, stop] = path
        else:
            path.unlink()
    return parts


def merge(store: Path, key: StoreKey, dataset: Dataset, about: dict[str, Any]) -> None:
    """Join all parts into the store, then remove them.

    Args:
        about: Facts for the attributes: versions and device.
    """
    parts = finished_parts(store)
    samples = dataset.samples
    seconds = sum(_seconds(path) for path in parts.values())
    with _durable(store) as file:
        for name in ROWS:
            _merge_rows(file, name, parts, len(samples))
        file["targets"] = np.array([-1 if s.target is None else s.target for s in samples], np.int64)
        texts = zip(*((s.id, s.group or "", s.site or "", s.split) for s in samples), strict=True)
        for name, column in zip(TEXTS, texts, strict=True):
            file.create_dataset(name, data=list(column), dtype=h5py.string_dtype())
        file.attrs.update(
            {
                "schema": SCHEMA,
                "n": len(samples),
                "key": key.sha256,
                "identity": json.dumps(key.content, default=str),
                "embed_s": seconds,
                "images_per_s": len(samples) / max(seconds, 1e-9),
                **about,
            }
        )
    for path in parts.values():
        path.unlink()


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


class Store:
    """A finished store, open for reading."""

    def __init__(self, path: Path) -> None:
        """Open and verify.

        Raises:
            EvaError: The file is damaged or has fewer rows than its dataset.
        """
        self.path = path
        try:
            with h5py.File(path, "r") as file:
                self.attributes = dict(file.attrs)
                self.shape = file["embeddings"].shape
                complete = all(len(file[name]) == self.attributes["n"] for name in (*ROWS, *TEXTS, "targets"))
                self.ids, self.groups, self.sites, self.splits = (file[name].asstr()[:] for name in TEXTS)
                self.targets = file["targets"][:]
                self.readable = file["readable"][:]
        except (OSError, KeyError) as error:
            raise EvaError(f"Expected a whole embedding store, but {path} is damaged ({error}).") from error
        if not complete:
            raise EvaError(f"Expected {self.attributes['n']} rows in {path}, but it has fewer.")

    @property
    def imported(self) -> bool:
        """Whether another program made the embeddings: then nothing is known of the images."""
        return bool(self.attributes.get("imported", False))

    @property
    def skipped(self) -> list[str]:
        """Ids of images that could not be read."""
        return list(self.ids[~self.readable])

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of the readable samples of a split, ascending."""
        return np.flatnonzero((self.splits == split) & self.readable)

    def read(self, rows: np.ndarray, what: str = "embeddings") -> np.ndarray:
        """Rows of `embeddings` (n, D), `colour_stats` (n, 6), `signature` (n, 64) or `short_side` (n,).

        Args:
            rows: Ascending row numbers. They are copied block by block, so that memory holds one copy.
        """
        with h5py.File(self.path, "r") as file:
            source = file[what]
            out = np.empty((len(rows), *source.shape[1:]), source.dtype)
            for first in range(0, self.shape[0], BLOCK):
                begin, end = np.searchsorted(rows, [first, first + BLOCK])
                if end > begin:
                    out[begin:end] = source[first : first + BLOCK][rows[begin:end] - first]
        return out

    def embedded(self, rows: np.ndarray, what: str = "embeddings") -> Embedded:
        """Rows as tensors, with their labels."""
        return Embedded(torch.from_numpy(self.read(rows, what)), torch.from_numpy(self.targets[rows]))

    def verify(self) -> None:
        """Read every chunk, so that each checksum is tried.

        Raises:
            EvaError: A chunk is damaged.
        """
        try:
            with h5py.File(self.path, "r") as file:
                for name in ROWS:
                    for chunk in file[name].iter_chunks():
                        file[name][chunk]
        except OSError as error:
            raise EvaError(f"Expected a whole embedding store, but {self.path} is damaged ({error}).") from error


def open_store(path: Path) -> Store | None:
    """The store at this path, or None where there is none; a damaged one is set aside with a warning."""
    if not path.exists():
        return None
    try:
        store = Store(path)
        store.verify()
        return store
    except EvaError as error:
        path.unlink()
        warnings.warn(f"{error} Removed; its embeddings are extracted again.", stacklevel=2)
        return None


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


def _write(file: h5py.File, name: str, values: np.ndarray) -> None:
    _create(file, name, values.shape, values.dtype)[:] = values
