"""The rows of predictions.parquet that all kinds of task share: who, where, which run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eva_core.errors import UsageError
from eva_core.results.record import AGAIN, PREDICTIONS, read_result_file


class Identified(Protocol):
    """Predictions of one split: whose they are, (N,)."""

    @property
    def split(self) -> str:
        """Name of the split."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """Id of each sample, (N,)."""
        ...

    @property
    def groups(self) -> Sequence[str]:
        """Patient or slide of each sample, empty where unknown, (N,)."""
        ...


def identity_columns(part: Identified, run: int, **more: pa.Array) -> dict[str, pa.Array]:
    """Columns id, split, run and group, (N,) each, with others between."""
    n = len(part.ids)
    return {
        "id": pa.array(list(part.ids), pa.string()),
        "split": pa.array([part.split] * n, pa.string()),
        "run": pa.array([run] * n, pa.int32()),
        **more,
        "group": pa.array([group or None for group in part.groups], pa.string()),
    }


def read_split(folder: Path, split: str, name: str = PREDICTIONS) -> tuple[pa.Table, list[str], list[str], int]:
    """The rows of one split; ids and groups of its samples, (N,); the number of runs.

    Args:
        folder: Folder of a finished result.
        split: Name of the split.
        name: Name of the file.
    """
    path, content = folder / name, pa.py_buffer(read_result_file(folder, name))
    try:
        table = pq.read_table(pa.BufferReader(content), filters=[("split", "=", split)])
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"Expected predictions in {path}, but they do not read ({error}). {AGAIN}") from error
    if not table.num_rows:
        there = pq.read_table(pa.BufferReader(content), columns=["split"])["split"].unique().to_pylist()
        raise UsageError(f"Expected split {split!r} in {path}, but it has {', '.join(there)}.")
    runs = len(np.unique(table["run"].to_numpy()))
    first = table.slice(0, table.num_rows // runs)  # runs stand one after another, samples in the same order
    return table, first["id"].to_pylist(), [group or "" for group in first["group"].to_pylist()], runs
