"""Tables of expression in AnnData files (.h5ad): counts of genes (columns) in spots (rows), dense or sparse.

Format: https://anndata.readthedocs.io/en/stable/fileformat-prose.html; that of files before AnnData 0.7 is read too.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

from eva_core.errors import EvaError, some
from eva_vision.datasets.published_hdf5 import reading, texts


def read_counts(path: Path, barcodes: Sequence[str], genes: Sequence[str]) -> np.ndarray:
    """The counts of some genes in some spots, float64 (barcodes, genes).

    Args:
        path: The file.
        barcodes: Names of rows, of the index of `obs`.
        genes: Names of columns, of the index of `var`.
    Raises:
        EvaError: The file does not read, lacks a barcode or a gene or has it twice, or holds what is no count.
    """
    with reading(path, "an AnnData table (X, obs, var)") as file:
        rows, columns = _index(file["obs"]), _index(file["var"])
        places = _places(rows, barcodes, path, "barcodes"), _places(columns, genes, path, "genes")
        counts = _selected(file["X"], (len(rows), len(columns)), *places)
    wrong = np.argwhere(~np.isfinite(counts) | (counts < 0))
    if len(wrong):
        row, column = wrong[0]
        raise EvaError(
            f"Expected counts of at least 0 in {path}, but {genes[column]} of {barcodes[row]} is "
            f"{counts[row, column]:g}. Get the file again."
        )
    return counts


def _index(table: Any) -> list[str]:
    """Names of the rows of `obs` or `var`."""
    if hasattr(table, "dtype"):  # a compound array, before AnnData 0.7
        names = [name for name in ("index", "_index") if name in (table.dtype.names or ())]
        return texts(table[names[0]])
    name = table.attrs["_index"]
    index = table[name.decode() if isinstance(name, bytes) else name]
    return texts(index if hasattr(index, "dtype") else index["values"])  # strings that may be missing are a group


def _places(names: Sequence[str], wanted: Sequence[str], path: Path, what: str) -> np.ndarray:
    known = {name: place for place, name in enumerate(names)}
    lost = [name for name in wanted if name not in known]
    if lost:
        raise EvaError(
            f"Expected {len(wanted):,} {what} in {path}, but {len(lost):,} of them have no expression there: "
            f"{some(lost)}. Get the file again."
        )
    twice = set(wanted) & {name for name, n in Counter(names).items() if n > 1}
    if twice:
        raise EvaError(f"Expected each of the {what} in {path} once, but {some(sorted(twice))} stand twice.")
    return np.array([known[name] for name in wanted], np.intp)


def _selected(matrix: Any, shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Rows and columns of X: a dense array, or the parts of a sparse matrix."""
    if hasattr(matrix, "dtype"):
        if matrix.shape != shape:
            raise ValueError("X is not obs by var")
        dense: np.ndarray = matrix[()][np.ix_(rows, columns)].astype(np.float64)
        return dense
    kind = matrix.attrs.get("encoding-type", matrix.attrs.get("h5sparse_format"))
    made = csc_matrix if "csc" in (kind.decode() if isinstance(kind, bytes) else str(kind)) else csr_matrix
    sparse = made((matrix["data"][()], matrix["indices"][()], matrix["indptr"][()]), shape=shape)
    counts: np.ndarray = sparse.tocsc()[:, columns].tocsr()[rows].toarray().astype(np.float64)
    return counts
