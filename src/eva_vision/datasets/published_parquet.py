"""Parquet files as the Hugging Face hub publishes images: columns of facts, and one whose cells hold image files."""

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eva_core.contracts.cards import DatasetCard
from eva_core.errors import EvaError, UsageError, some
from eva_vision.images import read_image

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.parquet")


@dataclass(frozen=True)
class Row:
    """A row of a Parquet file.

    Attributes:
        file: The file.
        number: Its number there, from 0.
        facts: Its columns but for the image, as texts.
    """

    file: Path
    number: int
    facts: dict[str, str]


def find_parts(root: str | Path, card: DatasetCard) -> list[Path]:
    """The Parquet files below a folder, in the order of their names.

    Raises:
        UsageError: There is none, or one of `-00000-of-00004` and so on is missing.
    """
    folder = Path(root).expanduser()
    found = sorted(folder.rglob("*.parquet"))
    files = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not files:
        raise UsageError(
            f"Expected .parquet files in {folder}, but there are none. Set --dataset.root. To get them: {card.access}."
        )
    named = {match[0]: match for path in files if (match := _PART.fullmatch(path.name))}
    wanted = {f"{m[1]}-{part:05d}-of-{m[3]}.parquet" for m in named.values() for part in range(int(m[3]))}
    if missing := sorted(wanted - named.keys()):
        raise UsageError(
            f"Expected all parts of {card.name} in {folder}, but {len(missing)} are missing: {some(missing)}. "
            "Get them too."
        )
    return files


def read_rows(files: Sequence[Path], columns: Sequence[str], image: str) -> Iterator[Row]:
    """The rows of some files, their images left where they are.

    Args:
        files: From `find_parts`.
        columns: Columns to read.
        image: The column of images, which must be there.
    Raises:
        EvaError: A file does not read, or lacks a column, or a value.
    """
    for path in files:
        with _reading(path), pq.ParquetFile(path) as file:
            there = file.schema_arrow.names
            lacking = [name for name in (*columns, image) if name not in there]
            if lacking:
                raise EvaError(
                    f"Expected the columns {', '.join((*columns, image))} in {path}, but it lacks {some(lacking)} and "
                    f"has {some(there, 8)}. Get the file again."
                )
            table = file.read(columns=list(columns))
        for number, facts in enumerate(table.to_pylist()):
            empty = [name for name, value in facts.items() if value is None]
            if empty:
                raise EvaError(f"Expected a value of {empty[0]} in row {number} of {path}, but got none.")
            yield Row(path, number, {name: str(value) for name, value in facts.items()})


class ParquetImages:
    """Images in a column of Parquet files: one row group is in memory at a time, and files travel closed.

    Args:
        column: Name of the column, whose cells hold `bytes`.
    """

    def __init__(self, column: str) -> None:
        self.column = column
        self._process = os.getpid()
        self._files: dict[Path, tuple[Any, np.ndarray]] = {}  # each with the first row of each of its row groups
        self._held: tuple[Path, int, Any] | None = None

    def image(self, path: Path, number: int) -> np.ndarray:
        """Decode the image of a row: uint8 RGB, (H, W, 3).

        Raises:
            EvaError: The file does not read.
            OSError: The cell holds no image.
        """
        if self._process != os.getpid():  # an open file has one place, which processes must not share
            self._process, self._files, self._held = os.getpid(), {}, None
        with _reading(path):
            if path not in self._files:
                file = pq.ParquetFile(path)
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
                self._files[path] = file, np.cumsum([0, *sizes])
            file, starts = self._files[path]
            group = int(np.searchsorted(starts, number, "right")) - 1
            if self._held is None or self._held[:2] != (path, group):
                self._held = None  # before the next one comes
                self._held = path, group, file.read_row_group(group, columns=[self.column]).column(0)
            cell = self._held[2][number - int(starts[group])].as_py()
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not content:
            raise OSError(f"row {number} of {path} holds no bytes in column {self.column}")
        return read_image(io.BytesIO(content))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}, "_held": None}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise EvaError(f"Expected Parquet in {path}, but it does not read: is it cut? Get the file again.") from error
