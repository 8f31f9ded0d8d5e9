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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

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
                _try_checksums(file)
        except OSError:
            intact = False
        if intact:
            parts[first, stop] = path
        else:
            path.unlink()
    return parts


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


def _try_checksums(file: h5py.File) -> None:
    """Read every chunk: a damaged one raises OSError."""
    for rows in file.values():
        if rows.chunks is not None:
            for chunk in rows.iter_chunks():
                rows[chunk]


class Samples(ABC):
    """A finished store, open for reading: what is known of every sample."""

    ids: np.ndarray
    groups: np.ndarray
    sites: np.ndarray
    splits: np.ndarray
    targets: np.ndarray
    readable: np.ndarray

    def __init__(self, path: Path) -> None:
        """Open and check.

        Raises:
            EvaError: The file is damaged or has fewer rows than it should.
        """
        self.path = path
        try:
            with h5py.File(path, "r") as file:
                self.attributes = dict(file.attrs)
                self.ids, self.groups, self.sites, self.splits = (file[name].asstr()[:] for name in TEXTS)
                complete = self._load(file)
        except (OSError, KeyError) as error:
            raise EvaError(f"Expected a whole embedding store, but {path} is damaged ({error}).") from error
        if not complete:
            raise EvaError(f"Expected {self.attributes['n']} rows in {path}, but it has fewer.")

    @abstractmethod
    def _load(self, file: h5py.File) -> bool:
        """Read what else is wanted at once; returns whether all rows are there."""

    @abstractmethod
    def signatures(self, samples: np.ndarray) -> np.ndarray:
        """Thumbnails by which near-duplicates are found, (n, 64)."""

    @property
    def imported(self) -> bool:
        """Whether another program made the embeddings: then nothing is known of the images."""
        return bool(self.attributes.get("imported", False))

    @property
    def skipped(self) -> list[str]:
        """Ids of images that could not be read."""
        return list(self.ids[~self.readable])

    def rows(self, split: str) -> np.ndarray:
        """Numbers of the readable samples of a split, ascending."""
        return np.flatnonzero((self.splits == split) & self.readable)

    def verify(self) -> None:
        """Read every chunk, so that each checksum is tried.

        Raises:
            EvaError: A chunk is damaged.
        """
        try:
            with h5py.File(self.path, "r") as file:
                _try_checksums(file)
        except OSError as error:
            raise EvaError(f"Expected a whole embedding store, but {self.path} is damaged ({error}).") from error


class Store(Samples):
    """A store of embeddings: a row is a sample."""

    def _load(self, file: h5py.File) -> bool:
        self.shape = file["embeddings"].shape
        self.targets, self.readable = file["targets"][:], file["readable"][:]
        return all(len(file[name]) == self.attributes["n"] for name in (*ROWS, *TEXTS, "targets"))

    def signatures(self, samples: np.ndarray) -> np.ndarray:
        return self.read(samples, "signature")

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


Kind = TypeVar("Kind", bound=Samples)


def open_store(path: Path, kind: type[Kind]) -> Kind | None:
    """The store at this path, or None where there is none; a damaged one is set aside with a warning."""
    if not path.exists():
        return None
    try:
        store = kind(path)
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
