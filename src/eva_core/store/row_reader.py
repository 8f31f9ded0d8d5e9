"""Rows of a store at the speed of the file: read past HDF5, as the checksum was tried when the store was opened."""

import os
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from eva_core.store.hdf5_files import reading


class Rows:
    """One array of a store, row after row."""

    def __init__(self, path: Path, name: str) -> None:
        with reading(path) as file:
            array = file[name]
            self.shape: tuple[int, ...] = array.shape
            self.dtype: np.dtype[Any] = array.dtype
            self._begin: int = array.id.get_offset()
        self._file = os.open(path, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, self._file)  # every evaluation opens some

    def __enter__(self) -> "Rows":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return int(np.prod(self.shape[1:])) * self.dtype.itemsize

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows in any order, (n, ...); neighbours that are wanted one after another come in one read."""
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        apart = np.flatnonzero(np.diff(rows) != 1) + 1
        for first, stop in zip([0, *apart], [*apart, len(rows)], strict=True):
            if stop > first:
                self._fill(out[first:stop], self._begin + int(rows[first]) * self.row_bytes)
        return out

    def _fill(self, out: np.ndarray, offset: int) -> None:
        left = memoryview(out.reshape(-1).view(np.uint8).data)
        while left:
            done = os.preadv(self._file, [left], offset)
            if not done:
                raise OSError(f"Expected {len(left)} more bytes at {offset}, but the file ends.")
            left, offset = left[done:], offset + done
