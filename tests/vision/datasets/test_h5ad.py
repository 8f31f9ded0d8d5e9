from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.sparse import csc_matrix

from eva_core.errors import EvaError
from eva_vision.datasets.h5ad import read_counts
from tests.vision.datasets.test_hest import write_h5ad

TABLE = np.array([[0, 1, 2], [3, 0, 5], [6, 7, 0], [9, 0, 11]], float)
OBS, VAR = ["a", "b", "c", "d"], ["X", "Y", "Z"]


@pytest.mark.parametrize("sparse", [True, False])
def test_rows_and_columns_come_in_the_order_asked_for(tmp_path: Path, sparse: bool):
    path = tmp_path / "x.h5ad"
    write_h5ad(path, TABLE, OBS, VAR, sparse)
    assert read_counts(path, ["d", "a", "c"], ["Z", "X"]).tolist() == TABLE[[3, 0, 2]][:, [2, 0]].tolist()


def test_columns_may_be_what_is_packed(tmp_path: Path):
    path = tmp_path / "x.h5ad"
    write_h5ad(path, TABLE, OBS, VAR, sparse=False)
    packed = csc_matrix(TABLE)
    with h5py.File(path, "a") as file:
        del file["X"]
        group = file.create_group("X")
        group.attrs["encoding-type"] = "csc_matrix"
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(packed, name)
    assert read_counts(path, OBS, VAR).tolist() == TABLE.tolist()


def test_files_of_early_versions_are_read(tmp_path: Path):
    path = tmp_path / "x.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = TABLE
        for kind, names in (("obs", OBS), ("var", VAR)):
            file[kind] = np.array([(name.encode(), 1.0) for name in names], [("index", "S8"), ("more", float)])
    assert read_counts(path, ["c"], ["Y"]).tolist() == [[7]]


def test_texts_that_may_be_missing_are_an_index(tmp_path: Path):
    path = tmp_path / "x.h5ad"
    write_h5ad(path, TABLE, OBS, VAR, sparse=False)
    with h5py.File(path, "a") as file:
        names = file["var/_index"][()]
        del file["var/_index"]
        file["var/_index/values"] = names
        file["var/_index/mask"] = np.zeros(3, bool)
    assert read_counts(path, ["b"], ["Z"]).tolist() == [[5]]


@pytest.mark.parametrize(
    ("barcodes", "genes", "expected"),
    [
        (["a", "e"], ["X"], "1 of them have no expression there: e"),
        (["a"], ["X", "W", "V"], "Expected 3 genes in .* but 2 of them have no expression there: W, V"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, barcodes: list[str], genes: list[str], expected: str):
    write_h5ad(tmp_path / "x.h5ad", TABLE, OBS, VAR, sparse=True)
    with pytest.raises(EvaError, match=expected):
        read_counts(tmp_path / "x.h5ad", barcodes, genes)


def test_a_barcode_that_stands_twice_is_refused_where_it_is_asked_for(tmp_path: Path):
    write_h5ad(tmp_path / "x.h5ad", TABLE, ["a", "b", "b", "d"], VAR, sparse=True)
    assert read_counts(tmp_path / "x.h5ad", ["d"], ["X"]).tolist() == [[9]]
    with pytest.raises(EvaError, match="b stand twice"):
        read_counts(tmp_path / "x.h5ad", ["b"], ["X"])


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_what_is_no_count_is_named(tmp_path: Path, value: float):
    wrong = TABLE.copy()
    wrong[2, 1] = value
    write_h5ad(tmp_path / "x.h5ad", wrong, OBS, VAR, sparse=True)
    with pytest.raises(EvaError, match=f"Expected counts of at least 0 in .*, but Y of c is {value:g}"):
        read_counts(tmp_path / "x.h5ad", OBS, VAR)
    assert read_counts(tmp_path / "x.h5ad", ["a"], VAR).tolist() == [[0, 1, 2]]


def test_a_table_of_another_shape_does_not_read(tmp_path: Path):
    write_h5ad(tmp_path / "x.h5ad", TABLE, OBS[:3], VAR, sparse=False)
    with pytest.raises(EvaError, match="does not read"):
        read_counts(tmp_path / "x.h5ad", ["a"], VAR)
