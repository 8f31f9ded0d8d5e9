"""Writing a store: in parts that survive a kill, joined when all rows are there. Both are of `eva_core.hdf5_files`.

A part is a file `<store>.<first>-<stop>.part` with the rows of whole batches. When the store is written, the parts go.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eva_core import hdf5_files
from eva_core.atomic_files import remove_leftovers, write_text
from eva_core.checksums import Damaged
from eva_core.embeddings import SCHEMA, TEXTS, StoreKey
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
        columns = {
            name: hdf5_files.column(np.concatenate([batch[name] for batch in self._batches]))
            for name in self._batches[0]
        }
        part = Path(f"{self.store}.{self._first:09d}-{self._next:09d}.part")
        hdf5_files.write(part, columns, {"seconds": self.seconds})
        self._first, self._batches, self._since = None, [], time.monotonic()


def finished_parts(store: Path) -> dict[tuple[int, int], Path]:
    """Rows [first, stop) already on disk, by range. A damaged part is removed and done again.

    Raises:
        EvaError: A part could not be read: that says nothing about it, and it stays.
    """
    parts = {}
    for path in sorted(store.parent.glob(f"{store.name}.*.part")):
        rows = re.fullmatch(r"(\d+)-(\d+)", path.name.split(".")[-2])
        if rows is None or not hdf5_files.there(path):
            continue
        first, stop = int(rows[1]), int(rows[2])
        try:
            with hdf5_files.reading(path) as file:
                if any(len(values) != stop - first for values in file.values()):
                    raise Damaged(f"{path} has other rows than its name says.")
            parts[first, stop] = path
        except Damaged:
            with suppress(OSError):  # another user's is replaced, if that may be
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
    _refuse_gaps(store, parts, n)
    remove_leftovers(store)
    with hdf5_files.reading(next(iter(parts.values()))) as part:
        rows = {name: (values.shape[1:], values.dtype) for name, values in part.items()}
    seconds = sum(_seconds(path) for path in parts.values())
    facts = {
        "schema": SCHEMA,
        "n": n,
        "key": key.sha256,
        "identity": json.dumps(key.content, default=str),
        "embed_s": seconds,
        "images_per_s": n / max(seconds, 1e-9),
        **about,
    }
    joined = {
        name: hdf5_files.Column((n, *shape), dtype, partial(_rows, parts, name))
        for name, (shape, dtype) in rows.items()
    }
    hdf5_files.write(store, {**joined, **{name: hdf5_files.column(values) for name, values in columns.items()}}, facts)
    for path in parts.values():
        path.unlink(missing_ok=True)
    Path(f"{store}.layout").unlink(missing_ok=True)


def sample_columns(dataset: Dataset) -> dict[str, np.ndarray]:
    """Labels and texts of every sample, as `merge` takes them."""
    samples = dataset.samples
    texts = zip(*((s.id, s.group or "", s.site or "", s.split) for s in samples), strict=True)
    return {
        "targets": np.array([-1 if s.target is None else s.target for s in samples], np.int64),
        **{name: np.array(column, object) for name, column in zip(TEXTS, texts, strict=True)},
    }


def _refuse_gaps(store: Path, parts: dict[tuple[int, int], Path], n: int) -> None:
    """Refuse to join parts that lack rows: one was damaged since it was written, or another process took it."""
    done = 0
    for first, stop in sorted(parts):
        if first > done:
            break
        done = max(done, stop)
    if done != n:
        raise EvaError(f"Expected {n} rows in the parts of {store}, but those from {done} on are missing. Run again.")


def _seconds(part: Path) -> float:
    with hdf5_files.reading(part) as file:
        return float(file.attrs["seconds"])


def _rows(parts: dict[tuple[int, int], Path], name: str) -> Iterator[np.ndarray]:
    """The rows of an array in order, each once: parts overlap where batches had other sizes before."""
    done = 0
    for (first, stop), path in sorted(parts.items()):
        if stop > done:
            with hdf5_files.reading(path) as part:
                yield part[name][done - first :]
            done = stop
