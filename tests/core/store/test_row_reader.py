"""Rows past HDF5 are the rows of HDF5."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva_core.store import hdf5_files
from eva_core.store.row_reader import Rows

N = 23
VALUES = {
    "features": np.random.default_rng(0).normal(size=(N, 3, 4)).astype(np.float16),
    "masks": np.random.default_rng(1).integers(0, 256, (N, 5, 7), np.uint8),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.h5"
    hdf5_files.write(file, {name: hdf5_files.column(values) for name, values in VALUES.items()}, {})
    return file


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, N - 1), max_size=2 * N), st.sampled_from(sorted(VALUES)))
def test_any_rows_in_any_order_are_those_of_h5py(path: Path, wanted: list[int], name: str):
    with Rows(path, name) as rows:
        found = rows.read(np.array(wanted, int))
    assert found.dtype == VALUES[name].dtype
    assert np.array_equal(found, VALUES[name][wanted])


def test_a_stretch_of_rows(path: Path):
    with Rows(path, "features") as rows:
        assert np.array_equal(rows.read(np.arange(2, N)), VALUES["features"][2:])
        assert rows.row_bytes == 24


def test_a_file_that_ends_early_is_an_error(path: Path, tmp_path: Path):
    cut = tmp_path / "cut.h5"
    cut.write_bytes(path.read_bytes())
    with Rows(cut, "masks") as rows:
        os.truncate(cut, rows._begin + (N - 1) * rows.row_bytes + 10)
        with pytest.raises(OSError, match="but the file ends"):
            rows.read(np.array([N - 1]))


def test_files_are_closed_with_the_last_reference(path: Path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        Rows(path, "masks").read(np.array([1]))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before
