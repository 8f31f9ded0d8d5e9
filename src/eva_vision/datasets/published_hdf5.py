"""HDF5 files as others publish them: tables of images, and arrays by name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from eva_core.errors import EvaError


@contextmanager
def reading(path: Path, what: str) -> Iterator[Any]:
    """An HDF5 file open for reading; what does not read or is not there is said in a line.

    Args:
        path: The file.
        what: What is expected in it.
    Raises:
        EvaError: It is no HDF5, it is cut, or it lacks what is asked of it.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise EvaError(f"Expected HDF5 with {what} in {path}, but it does not read. Get the file again.") from error


def texts(array: Any) -> list[str]:
    """The strings of an array of any shape, in order."""
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in np.asarray(array[()]).reshape(-1)]


class ImageTables:
    """Images in HDF5 arrays (N, H, W, 3): each file is opened once in a process, and travels to others closed.

    Args:
        name: Name of the array in each file.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._readers: dict[Path, Any] = {}
        self._process = os.getpid()

    def image(self, path: Path, number: int) -> np.ndarray:
        """One image of a file, (H, W, 3)."""
        if self._process != os.getpid():  # HDF5 handles must not be shared with the process that forked this one
            for reader in self._readers.values():
                reader.file.close()
            self._readers, self._process = {}, os.getpid()
        if path not in self._readers:
            self._readers[path] = h5py.File(path, "r")[self.name]
        pixels: np.ndarray = self._readers[path][number]
        return pixels

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}}  # open files do not travel to loader processes
