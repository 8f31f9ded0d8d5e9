"""Writing a store: in parts that survive a kill, joined when all rows are there. Both by `hdf5_files`.

A part is a file `<store>.<first>-<stop>.part` with some rows of the store and, as `row`, their numbers. When the store
is written, the parts go.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eva_core.contracts.dataset import Dataset
from eva_core.errors import EvaError
from eva_core.files.atomic_files import remove_leftovers, write_text
from eva_core.files.checksums import Damaged
from eva_core.store import hdf5_files
from eva_core.store.store import SCHEMA, TEXTS, StoreKey, remove_parts

ROW = "row"
"""In a part: the numbers of its rows."""
_AT_ONCE = 2**26  # bytes of an array in memory as parts are joined


class PartWriter:
    """Collects batches of named arrays and writes them as parts."""

    def __init__(self, store: Path, base: str = "", pace: float | None = None) -> None:
        """Begin with nothing.

        Args:
            store: The file that is to be.
            base: `StoreKey.base` of the rows, so that other stores can take them over.
            pace: Seconds that a row once took, where rows are copied; None: they are made as they are added.
        """
        self.store, self.base, self.pace = store, base, pace
        self._numbers: list[np.ndarray] = []
        self._batches: list[dict[str, np.ndarray]] = []
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the last part was written."""
        return time.monotonic() - self._since

    @property
    def bytes(self) -> int:
        """Bytes held in memory since then."""
        return sum(values.nbytes for batch in self._batches for values in batch.values())

    def add(self, rows: np.ndarray | int, batch: dict[str, np.ndarray]) -> None:
        """Take a batch: row numbers (n,), or the first of a stretch, and the values of each array (n, ...)."""
        n = len(next(iter(batch.values())))
        self._numbers.append(np.arange(rows, rows + n) if isinstance(rows, int) else rows)
        self._batches.append(batch)

    def flush(self) -> None:
        """Write what was collected as one part, durably."""
        if not self._numbers:
            return
        rows = np.concatenate(self._numbers)
        order = np.argsort(rows)
        columns = {ROW: hdf5_files.column(rows[order])}
        for name in self._batches[0]:
            columns[name] = hdf5_files.column(np.concatenate([batch[name] for batch in self._batches])[order])
        facts = {
            "seconds": self.seconds if self.pace is None else self.pace * len(rows),
            "base": self.base,
            "arrays": json.dumps(list(self._batches[0])),
        }
        hdf5_files.write(Path(f"{self.store}.{rows.min():09d}-{rows.max() + 1:09d}.part"), columns, facts)
        self._numbers, self._batches, self._since = [], [], time.monotonic()


def finished_parts(store: Path) -> dict[Path, np.ndarray]:
    """Parts on disk, each with its row numbers, ascending. A damaged part is removed and done again.

    Raises:
        EvaError: A part could not be read: that says nothing about it, and it stays.
    """
    parts = {}
    for path in sorted(store.parent.glob(f"{store.name}.*.part")):
        if re.fullmatch(r"\d+-\d+", path.name.split(".")[-2]) is None or not hdf5_files.there(path):
            continue
        try:
            with hdf5_files.reading(path) as file:
                rows = file[ROW][:]
                if any(len(values) != len(rows) for values in file.values()):
                    raise Damaged(f"{path} has arrays of several lengths.")
            parts[path] = rows
        except Damaged:
            with suppress(OSError):  # another user's is replaced, if that may be
                path.unlink()
    return parts


def keep_parts_of(store: Path, layout: str) -> None:
    """Remove the parts of an earlier call whose rows were others: by a file beside them, which goes with the store.

    Args:
        store: The file that is to be.
        layout: Says which row is what.
    """
    file = Path(f"{store}.layout")
    if file.exists() and file.read_bytes() == layout.encode():
        return
    for path in finished_parts(store):
        path.unlink()
    write_text(file, layout)


def merge(store: Path, key: StoreKey, dataset: Dataset, about: dict[str, Any]) -> None:
    """Join all parts into a store with a row for each sample, then remove them.

    Args:
        store: The file that is to be.
        key: Its identity.
        dataset: Gives labels and texts of the samples.
        about: Facts for the attributes: versions and device.
    """
    join_parts(store, key, len(dataset.samples), sample_columns(dataset), about)


def join_parts(store: Path, key: StoreKey, n: int, columns: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """Join all parts into a store of `n` rows, then remove them.

    Args:
        store: The file that is to be.
        key: Its identity.
        n: Number of rows.
        columns: Arrays that are known beforehand, by name; those of str become UTF-8.
        about: Facts for the attributes: versions and device.
    """
    parts = finished_parts(store)
    _refuse_gaps(store, parts, n)
    remove_leftovers(store)
    with hdf5_files.reading(next(iter(parts))) as part:
        rows = {name: (values.shape[1:], values.dtype) for name, values in part.items() if name != ROW}
    seconds = sum(_seconds(path) for path in parts)
    facts = {
        "schema": SCHEMA,
        "n": n,
        "key": key.sha256,
        "base": key.base,
        "arrays": json.dumps(list(rows)),
        "identity": json.dumps(key.content, default=str),
        "embed_s": seconds,
        "images_per_s": n / max(seconds, 1e-9),
        **about,
    }
    joined = {
        name: hdf5_files.Column((n, *shape), dtype, partial(_in_order, parts, name, n))
        for name, (shape, dtype) in rows.items()
    }
    hdf5_files.write(store, {**joined, **{name: hdf5_files.column(values) for name, values in columns.items()}}, facts)
    remove_parts(store)


def sample_columns(dataset: Dataset) -> dict[str, np.ndarray]:
    """Labels and texts of every sample, as `merge` takes them."""
    samples = dataset.samples
    texts = zip(*((s.id, s.group or "", s.site or "", s.split) for s in samples), strict=True)
    return {
        "targets": targets_of([s.target for s in samples]),
        **{name: np.array(column, object) for name, column in zip(TEXTS, texts, strict=True)},
    }


def targets_of(targets: Sequence[Any]) -> np.ndarray:
    """Targets of samples as one array that keeps their kind and shape.

    Returns:
        int64 (N,) of whole numbers, -1 where unknown; else float64 (N, ...), NaN where unknown.

    Examples:
        >>> targets_of([2, None, 0])
        array([ 2, -1,  0])
        >>> targets_of([3.7, None])
        array([3.7, nan])
    """
    known = [target for target in targets if target is not None]
    if all(isinstance(target, int | np.integer) for target in known):
        return np.array([-1 if target is None else target for target in targets], np.int64)
    unknown = np.full(np.shape(known[0]), np.nan)
    return np.array([unknown if target is None else target for target in targets], np.float64)


def missing_rows(parts: dict[Path, np.ndarray], n: int) -> np.ndarray:
    """Numbers of those of `n` rows that no part has, ascending."""
    missing = np.ones(n, bool)
    for rows in parts.values():
        missing[rows] = False
    return np.flatnonzero(missing)


def _refuse_gaps(store: Path, parts: dict[Path, np.ndarray], n: int) -> None:
    """Refuse to join parts that lack rows: one was damaged since it was written, or another process took it."""
    missing = missing_rows(parts, n)
    if len(missing):
        raise EvaError(
            f"Expected {n} rows in the parts of {store}, but {len(missing)} are missing, row {missing[0]} first. "
            "Run again."
        )


def _seconds(part: Path) -> float:
    with hdf5_files.reading(part) as file:
        return float(file.attrs["seconds"])


def _in_order(parts: dict[Path, np.ndarray], name: str, n: int) -> Iterator[np.ndarray]:
    """The rows of an array from 0 to n, in blocks; parts may interleave, and overlap where batches were others."""
    with hdf5_files.reading(next(iter(parts))) as part:
        shape, dtype = part[name].shape[1:], part[name].dtype
    step = max(1, _AT_ONCE // max(1, int(np.prod(shape)) * dtype.itemsize))
    for first in range(0, n, step):
        block = np.empty((min(step, n - first), *shape), dtype)
        for path, rows in parts.items():
            begin, end = np.searchsorted(rows, [first, first + step])
            if end > begin:
                with hdf5_files.reading(path) as part:
                    block[rows[begin:end] - first] = part[name][begin:end]
        yield block
