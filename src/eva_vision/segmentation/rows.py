"""Rows of a store at the speed of the file: read past HDF5, whose checksums were tried when the store was opened."""

import os
import weakref
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np


class Rows:
    """One array of an HDF5 file, chunked along its first axis and not compressed."""

    def __init__(self, path: Path, name: str) -> None:
        with h5py.File(path, "r") as file:
            array = file[name]
            self.shape, self.dtype = array.shape, array.dtype
            self._chunk = array.chunks[0]
            self._offsets = np.zeros(-(-len(array) // self._chunk), np.int64)
            array.id.chunk_iter(self._note)
        self._file = os.open(path, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, self._file)  # every evaluation opens some

    def _note(self, chunk: h5py.h5d.StoreInfo) -> None:
        self._offsets[chunk.chunk_offset[0] // self._chunk] = chunk.byte_offset

    def __enter__(self) -> "Rows":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:])) * self.dtype.itemsize

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows in any order, (n, ...); neighbours in a chunk that are wanted one after another come in one read."""
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        apart = np.flatnonzero((np.diff(rows) != 1) | (rows[1:] % self._chunk == 0)) + 1
        for first, stop in zip([0, *apart], [*apart, len(rows)], strict=True):
            if stop > first:
                chunk, row = divmod(int(rows[first]), self._chunk)
                self._fill(out[first:stop], int(self._offsets[chunk]) + row * self.row_bytes)
        return out

    def _fill(self, out: np.ndarray, offset: int) -> None:
        left = memoryview(out.reshape(-1).view(np.uint8).data)
        while left:
            done = os.preadv(self._file, [left], offset)
            if not done:
                raise OSError(f"Expected {len(left)} more bytes at {offset}, but the file ends.")
            left, offset = left[done:], offset + done
