"""Embedding store: one HDF5 file per key, verified when opened."""

import hashlib
import json
import re
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import torch

from eva_core.cache import cache_root
from eva_core.errors import EvaError
from eva_core.file_names import LONGEST
from eva_core.types import Embedded

ROWS = ("embeddings", "colour_stats", "signature", "short_side", "readable")
TEXTS = ("ids", "groups", "sites", "split")
SCHEMA = 2
BLOCK = 8192


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
        safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", self.model)[:LONGEST]
        return cache_root() / self.dataset / f"{safe}-{self.sha256[:12]}.h5"


def try_checksums(file: h5py.File) -> None:
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
                try_checksums(file)
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
