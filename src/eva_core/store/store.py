"""Embedding store: one HDF5 file per key, verified before it is opened."""

import os
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import torch
from typing_extensions import override

from eva_core.contracts.head import Embedded
from eva_core.errors import EvaError
from eva_core.files.cache import cache_root, locked
from eva_core.files.checksums import Damaged, Verified
from eva_core.files.file_names import LONGEST
from eva_core.identity import digest
from eva_core.progress import say
from eva_core.store import hdf5_files
from eva_core.store.row_reader import Rows

ROWS = ("embeddings", "colour_stats", "signature", "short_side", "readable")
TEXTS = ("ids", "groups", "sites", "split")
SCHEMA = 3
BLOCK = 8192


@dataclass(frozen=True)
class StoreKey:
    """What an embedding depends on, and so the identity of a store."""

    model: str
    dataset: str
    content: dict[str, Any]

    @property
    def sha256(self) -> str:
        """Digest of all of it, in hexadecimal."""
        return digest(self.content)

    @property
    def base(self) -> str:
        """Digest that rows of the same pixels share, whatever dataset they are in."""
        return digest({name: value for name, value in self.content.items() if name != "dataset_sha256"})

    @property
    def file_stem(self) -> str:
        """The model's name as files have it."""
        return re.sub(r"[^A-Za-z0-9_.-]+", "_", self.model)[:LONGEST]

    @property
    def path(self) -> Path:
        """Path of the store in the cache."""
        return cache_root() / self.dataset / f"{self.file_stem}-{self.sha256[:12]}.h5"


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
            Damaged: The file is not as it was written, of an earlier version, or has fewer rows than it should.
            EvaError: It could not be read.
        """
        self.path = path
        hdf5_files.verify(path, Verified(Path(f"{path}.verified")))
        with hdf5_files.reading(path) as file:
            self.attributes = hdf5_files.attributes(file)
            if self.attributes.get("schema") != SCHEMA:
                raise Damaged(f"{path} is of another version of eva.")
            self.ids, self.groups, self.sites, self.splits = (hdf5_files.texts(file[name]) for name in TEXTS)
            complete = self._load(file)
        if not complete:
            raise Damaged(f"Expected {self.attributes['n']} rows in {path}, but it has fewer.")

    @abstractmethod
    def _load(self, file: h5py.File) -> bool:
        """Read what else is wanted at once; returns whether all rows are there."""

    @abstractmethod
    def signatures(self, samples: np.ndarray) -> np.ndarray:
        """Thumbnails by which near-duplicates are found, (n, 1024)."""

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


class VectorStore(Samples):
    """A store that has one vector for each sample, its embedding."""

    @abstractmethod
    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The embeddings of samples, float32 (n, D): rows (n,) in any order."""


class Store(VectorStore):
    """A store of embeddings: a row is a sample."""

    @override
    def _load(self, file: h5py.File) -> bool:
        self.shape = file["embeddings"].shape
        self.targets, self.readable = file["targets"][:], file["readable"][:]
        return all(len(file[name]) == self.attributes["n"] for name in (*ROWS, *TEXTS, "targets"))

    @override
    def signatures(self, samples: np.ndarray) -> np.ndarray:
        return self.read(samples, "signature")

    def read(self, rows: np.ndarray, what: str = "embeddings") -> np.ndarray:
        """Rows of `embeddings` (n, D), `colour_stats` (n, 6), `signature` (n, 1024) or `short_side` (n,).

        Args:
            rows: Ascending row numbers, (n,). They are copied block by block, so that memory holds one copy.
            what: Name of the array.
        """
        with hdf5_files.reading(self.path) as file:
            source = file[what]
            out = np.empty((len(rows), *source.shape[1:]), source.dtype)
            for first in range(0, self.shape[0], BLOCK):
                begin, end = np.searchsorted(rows, [first, first + BLOCK])
                if end > begin:
                    out[begin:end] = source[first : first + BLOCK][rows[begin:end] - first]
        return out

    @override
    def vectors(self, rows: np.ndarray) -> np.ndarray:
        order = np.argsort(rows)
        out = np.empty((len(rows), self.shape[1]), np.float32)
        with Rows(self.path, "embeddings") as reader:
            out[order] = reader.read(rows[order])
        return out

    def named_targets(self, rows: np.ndarray, own: Sequence[str], names: Sequence[str]) -> np.ndarray:
        """The targets of samples that have several numbers, by their names, float64 (n, K); NaN where none is known.

        Args:
            rows: Numbers of the samples, (n,).
            own: Names of the numbers of the store.
            names: Names of those that are wanted, K of them.
        """
        targets = np.full((len(rows), len(names)), np.nan)
        if self.targets.dtype.kind == "f":
            known = self.targets[rows].reshape(len(rows), -1)
            for column, name in enumerate(names):
                if name in own:
                    targets[:, column] = known[:, own.index(name)]
        return targets

    def embedded(self, rows: np.ndarray, what: str = "embeddings") -> Embedded:
        """Rows as tensors, with their labels and groups."""
        return Embedded(
            torch.from_numpy(self.read(rows, what)), torch.from_numpy(self.targets[rows]), self.groups[rows]
        )


Kind = TypeVar("Kind", bound=Samples)


def open_store(path: Path, kind: type[Kind]) -> Kind | None:
    """The store at this path, or None where there is none.

    Raises:
        Damaged: It is not as it was written.
        EvaError: It could not be read: that says nothing about it, and it stays.
    """
    return kind(path) if hdf5_files.there(path) else None


def store_at(path: Path, kind: type[Kind], make: Callable[[], None], tell: Callable[[str], None] = say) -> Kind:
    """The store at this path, made where there is none or a damaged one.

    One that is whole is taken without a lock, so that a cache may be one that is only read.

    Args:
        path: Where it lies.
        kind: The class that reads it.
        make: Writes it.
        tell: Receives lines for the user.
    Raises:
        EvaError: It could not be read or written.
    """
    with suppress(Damaged):
        if (store := open_store(path, kind)) is not None:
            remove_parts(path)
            return store
    with locked(path, tell):
        try:
            if (store := open_store(path, kind)) is not None:  # another process made it
                return store
        except Damaged as error:
            warnings.warn(f"{error} It is extracted again.", stacklevel=2)
            _make_room(path)
        try:
            make()
        except EvaError:
            if not path.exists():  # without locks, another machine may have joined the parts first
                raise
        return kind(path)


def remove_parts(store: Path) -> None:
    """Remove what a store that is whole was joined of; after a kill between the two, the next call does so."""
    for path in (*store.parent.glob(f"{escape(store.name)}.[0-9]*-[0-9]*.part"), Path(f"{store}.layout")):
        with suppress(OSError):  # the cache of another user
            path.unlink(missing_ok=True)


def _make_room(store: Path) -> None:
    """Remove a damaged store, but nobody else's: that one is replaced at the end, if that may be."""
    with suppress(OSError):
        if store.stat().st_uid == os.geteuid():
            store.unlink()
