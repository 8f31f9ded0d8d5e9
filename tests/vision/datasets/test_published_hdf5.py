import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_vision.datasets.published_hdf5 import ImageTables, reading, texts

IMAGES = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["img"] = IMAGES
        handle["names"] = np.array(["a", "ö"], object)[:, None]
        handle["fixed"] = np.array([b"a", b"b"])
    return tmp_path / "x.h5"


def test_texts_of_any_kind_are_str(file: Path):
    with reading(file, "names") as handle:
        assert texts(handle["names"]) == ["a", "ö"]
        assert texts(handle["fixed"]) == ["a", "b"]


def test_what_is_not_there_is_said_in_a_line(file: Path):
    with (
        pytest.raises(EvaError, match=r"Expected HDF5 with spots in .*x.h5, but it does not read"),
        reading(file, "spots") as handle,
    ):
        handle["spots"]
    file.write_bytes(b"no HDF5")
    with pytest.raises(EvaError, match="Get the file again"), reading(file, "spots"):
        pass


def test_images_are_read_by_number_from_a_file_that_is_opened_once(file: Path, monkeypatch: pytest.MonkeyPatch):
    tables, opened, real = ImageTables("img"), [], h5py.File
    monkeypatch.setattr(h5py, "File", lambda *a: opened.append(a) or real(*a))
    assert np.array_equal(tables.image(file, 1), IMAGES[1])
    assert np.array_equal(tables.image(file, 0), IMAGES[0])
    assert len(opened) == 1
    assert np.array_equal(pickle.loads(pickle.dumps(tables)).image(file, 1), IMAGES[1])
