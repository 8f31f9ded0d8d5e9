"""What `fit` returns: the content of results.json as a dictionary that shows itself, with the tables behind it."""

import importlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from typing_extensions import override

from eva_core.contracts.results import Results
from eva_core.errors import UsageError
from eva_core.reports.sections_html import as_html
from eva_core.results.record import PREDICTIONS, read_result_file
from eva_core.results.report import show
from eva_core.shown import visible
from eva_core.store.finding import find_store

_WIDTH = 110


class Result(dict[str, Any]):
    """The content of results.json, equal to what the file holds: `result["main"]["mean"]`.

    In a notebook it is a table with plots, elsewhere a table.

    Attributes:
        folder: The folder of the result.
    """

    def __init__(self, content: Results, folder: Path) -> None:
        super().__init__(content)
        self.folder = folder

    @property
    def content(self) -> Results:
        """The same, with types."""
        return cast(Results, self)

    @property
    def predictions(self) -> Any:
        """One row for each image and run, as predictions.parquet: a pandas or polars frame, else an Arrow table."""
        return as_frame(pq.read_table(pa.BufferReader(read_result_file(self.folder, PREDICTIONS, self.content))))

    @property
    def embeddings(self) -> Any:
        """One row for each image that could be read: id, split, group, label, and its embedding as e0, e1, ...

        A pandas or polars frame, else an Arrow table.

        Raises:
            UsageError: The store is not in the cache, or this kind of task keeps no embeddings.
        """
        of = self.content["identity"]
        store = find_store(of["dataset"], of["weights_sha256"], of["preprocess_sha256"], of["dataset_sha256"])
        if store is None:
            raise UsageError(
                f"Expected the embeddings of {visible(of['dataset'])} by {visible(of['model'])} in the cache, but they "
                "are not there. eva_core.predict makes them again; kinds of task without embeddings have none."
            )
        rows = store.readable.nonzero()[0]
        values = store.read(rows)
        columns: dict[str, Any] = {
            "id": pa.array(list(store.ids[rows]), pa.string()),
            "split": pa.array(list(store.splits[rows]), pa.string()),
            "group": pa.array([group or None for group in store.groups[rows]], pa.string()),
            "target": _targets(store.targets[rows]),
        }
        return as_frame(pa.table({**columns, **{f"e{n}": values[:, n] for n in range(values.shape[1])}}))

    @override
    def __repr__(self) -> str:
        text = io.StringIO()
        show(self.content, Console(file=text, width=_WIDTH, no_color=True))
        return text.getvalue().rstrip()

    def _repr_html_(self) -> str:
        return as_html(self.folder, self.content)


def _targets(targets: np.ndarray) -> pa.Array:
    """Targets as they are; class numbers below 0 stand for no label."""
    numbers = targets.tolist()
    return pa.array([None if t < 0 else t for t in numbers] if targets.dtype.kind == "i" else numbers)


def as_frame(table: pa.Table) -> Any:
    """A table as a pandas frame where pandas is installed, else as one of polars, else as it is."""
    if find_spec("pandas") is not None:
        return table.to_pandas()
    if find_spec("polars") is not None:
        return importlib.import_module("polars").from_arrow(table)
    return table
