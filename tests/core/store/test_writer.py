from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_core.store.store import StoreKey
from eva_core.store.writer import PartWriter, finished_parts, keep_parts_of
from tests.core.store.conftest import batch


def test_parts_go_where_their_layout_does_not_read(tmp_path: Path):
    store, note = tmp_path / "store.h5", tmp_path / "store.h5.layout"

    def write() -> None:
        writer = PartWriter(store)
        writer.add(np.arange(2), {"values": np.zeros((2, 3))})
        writer.flush()

    keep_parts_of(store, "rows by image")
    write()
    keep_parts_of(store, "rows by image")
    assert len(finished_parts(store)) == 1
    for changed in (b"\xf2ows by image", b"rows by imagf", b""):
        note.write_bytes(changed)
        keep_parts_of(store, "rows by image")
        assert finished_parts(store) == {}
        assert note.read_text() == "rows by image"
        write()


def test_no_file_is_begun_that_cannot_end(key, monkeypatch):
    monkeypatch.setattr("eva_core.files.atomic_files.free_space", lambda _: 100)
    writer = PartWriter(key.path)
    writer.add(np.arange(10), batch(0, 10))
    with pytest.raises(EvaError, match=r"it needs \d+\.\d kB, 100 bytes are free"):
        writer.flush()


def test_parts_of_other_rows_are_not_taken_over(key: StoreKey):
    keep_parts_of(key.path, "a")
    writer = PartWriter(key.path)
    writer.add(np.arange(3), {"embeddings": np.ones((3, 2), np.float32)})
    writer.flush()
    keep_parts_of(key.path, "a")
    assert [rows.tolist() for rows in finished_parts(key.path).values()] == [[0, 1, 2]]
    keep_parts_of(key.path, "b")
    assert not finished_parts(key.path)
