import numpy as np

from eva_core.store import hdf5_files


def test_long_texts_and_odd_names_are_kept(cache):
    path, names = cache / "odd.h5", np.array(["", "é", "a\udcff", "x" * 300], object)
    hdf5_files.write(path, {"ids": hdf5_files.column(names)}, {"identity": "i" * 100_000, "n": 4, "empty": ""})
    with hdf5_files.reading(path) as file:
        assert list(hdf5_files.texts(file["ids"])) == list(names)
        assert hdf5_files.attributes(file) == {"identity": "i" * 100_000, "n": 4, "empty": ""}
