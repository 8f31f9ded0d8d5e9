from pathlib import Path

import numpy as np

from eva_core.store.writer import PartWriter, finished_parts, keep_parts_of


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
