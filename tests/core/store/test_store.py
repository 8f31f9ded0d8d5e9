import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from eva_core.errors import EvaError
from eva_core.files.checksums import Damaged
from eva_core.store import hdf5_files
from eva_core.store.store import Store, StoreKey, open_store, store_at
from eva_core.store.writer import PartWriter, finished_parts, merge
from tests.core.store.conftest import batch


@pytest.fixture
def store(key, pictures) -> Store:
    writer = PartWriter(key.path)
    for first in range(0, 30, 10):
        writer.add(np.arange(first, first + 10), batch(first, 10))
        writer.flush()
    merge(key.path, key, pictures, {"device": "cpu"})
    return Store(key.path)


def test_a_merged_store_holds_what_the_parts_held(store, pictures):
    assert store.shape == (30, 4)
    assert (store.read(np.arange(30))[:, 0] == np.arange(30)).all()
    assert list(store.ids) == [s.id for s in pictures.samples]
    assert list(store.groups) == [s.group for s in pictures.samples]
    assert store.attributes["n"] == 30
    assert list(store.path.parent.glob("*.part")) == []
    assert list(store.path.parent.glob("*.tmp")) == []


def test_rows_of_a_split_are_read_in_order(store, pictures, monkeypatch):
    monkeypatch.setattr("eva_core.store.store.BLOCK", 7)
    rows = store.rows("train")
    assert [pictures.samples[i].split for i in rows] == ["train"] * len(rows)
    data = store.embedded(rows)
    assert torch.equal(data.x[:, 0], torch.from_numpy(rows).float())
    assert data.y.tolist() == [pictures.samples[i].target for i in rows]


def test_vectors_come_in_the_order_asked_for(store):
    rows = np.array([3, 0, 2])
    assert np.array_equal(store.vectors(rows), np.stack([store.read(np.array([row]))[0] for row in rows]))


def test_targets_of_several_numbers_are_found_by_name(store):
    rows = np.array([2, 0])
    assert np.isnan(store.named_targets(rows, ["a"], ["a"])).all()  # those of this store are classes
    store.targets = np.arange(60.0).reshape(30, 2)
    named = store.named_targets(rows, ["a", "b"], ["b", "unknown"])
    assert named[:, 0].tolist() == [5, 1]
    assert np.isnan(named[:, 1]).all()


def test_the_key_is_the_content_whatever_its_order():
    assert StoreKey("m", "d", {"a": 1, "b": 2}).sha256 == StoreKey("m", "d", {"b": 2, "a": 1}).sha256
    assert StoreKey("m", "d", {"a": 1}).sha256 != StoreKey("m", "d", {"a": 2}).sha256
    assert "/" not in StoreKey("hf-hub:a/b", "d", {}).path.name


def make_again(store: Store, pictures) -> Store:
    key = StoreKey("m", "pictures", {"a": 1})

    def make() -> None:
        writer = PartWriter(key.path)
        writer.add(np.arange(30), batch(0, 30))
        writer.flush()
        merge(key.path, key, pictures, {"device": "cpu"})

    return store_at(store.path, Store, make)


def refuse_to_make() -> None:
    raise AssertionError("a store that is there was made again")


@pytest.mark.parametrize("cut", [0, 100, 5000, -1])
def test_a_store_that_was_cut_is_made_again(store, pictures, cut: int):
    store.path.write_bytes(store.path.read_bytes()[:cut])
    with pytest.raises(Damaged):
        Store(store.path)
    with pytest.warns(UserWarning, match="extracted again"):
        whole = make_again(store, pictures)
    assert (whole.read(np.arange(30))[:, 0] == np.arange(30)).all()


def test_every_flipped_bit_of_a_store_is_found_or_changes_nothing(store, pictures):
    content, random = store.path.read_bytes(), np.random.default_rng(1)
    found = 0
    for at in random.integers(0, len(content), 150):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(random.integers(8))
        store.path.write_bytes(flipped)
        try:
            same = Store(store.path)
        except Damaged:
            found += 1
        else:  # in the block before HDF5's own, where nothing stands
            assert 68 <= at < 512 or 532 <= at < 536
            assert list(same.ids) == list(store.ids)
    assert found > 120


@pytest.mark.parametrize("text", [b"s007", b"p3", b"train", b"cpu"])
def test_a_flip_in_ids_groups_splits_and_facts_is_found(store, text: bytes):
    content = bytearray(store.path.read_bytes())
    content[content.rindex(text)] ^= 2
    store.path.write_bytes(content)
    with pytest.raises(Damaged, match="checksum"):
        Store(store.path)


def test_a_flip_with_the_old_times_put_back_is_found(store):
    Store(store.path)
    state, content = store.path.stat(), bytearray(store.path.read_bytes())
    content[-20] ^= 1
    store.path.write_bytes(content)
    os.utime(store.path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(Damaged):
        Store(store.path)


def test_a_store_is_read_whole_once_and_then_known_by_its_notes(store, monkeypatch):
    time.sleep(0.15)  # a file that was just written may yet change within the tick of a clock
    hdf5_files._verified._known.clear()
    Store(store.path)
    hdf5_files._verified._known.clear()
    monkeypatch.setattr("eva_core.store.hdf5_files.digest_of", lambda *_: pytest.fail("read again"))
    assert Store(store.path).shape == (30, 4)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EMFILE, errno.ENOLCK])
def test_a_store_that_cannot_be_read_for_now_stays(store, pictures, number: int, monkeypatch):
    def fail(self: Path, *args, **kwargs):
        raise OSError(number, os.strerror(number), str(self))

    before = store.path.stat().st_ino
    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(EvaError) as raised:
        store_at(store.path, Store, refuse_to_make)
    monkeypatch.undo()
    assert not isinstance(raised.value, Damaged)
    assert str(store.path) in str(raised.value)
    assert "damaged" not in str(raised.value)
    assert store.path.stat().st_ino == before


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_a_store_that_is_open_elsewhere_is_read_all_the_same(store, mode: str):
    code = f"import h5py, sys; f = h5py.File({str(store.path)!r}, {mode!r}); print(flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    try:
        assert store_at(store.path, Store, refuse_to_make).shape == (30, 4)
    finally:
        other.communicate(b"")


def test_a_store_that_another_program_is_changing_stays(store):
    with h5py.File(store.path, "r+") as file:
        file["targets"][0] = 5
        file.flush()
        with pytest.raises(EvaError, match="being changed by another program") as raised:
            store_at(store.path, Store, refuse_to_make)
    assert not isinstance(raised.value, Damaged)


def test_a_whole_store_in_a_cache_that_is_only_read_needs_no_lock(store, monkeypatch):
    monkeypatch.setattr("eva_core.store.store.locked", lambda *_: pytest.fail("locked"))
    assert store_at(store.path, Store, refuse_to_make).path == store.path


def test_parts_that_a_killed_process_left_beside_a_whole_store_go(store):
    writer = PartWriter(store.path)
    writer.add(np.arange(10), batch(0, 10))
    writer.flush()
    layout = Path(f"{store.path}.layout")
    layout.write_text("rows")
    (notes := store.path.with_name(f"{store.path.name}.notes.part")).write_text("mine")
    store_at(store.path, Store, refuse_to_make)
    assert finished_parts(store.path) == {}
    assert not layout.exists()
    assert notes.exists()


def test_a_store_with_fewer_rows_than_its_dataset_is_refused(key, pictures):
    writer = PartWriter(key.path)
    writer.add(np.arange(20), batch(0, 20))
    writer.flush()
    with pytest.raises(EvaError, match="10 are missing, row 20 first"):
        merge(key.path, key, pictures, {"device": "cpu"})
    assert [len(rows) for rows in finished_parts(key.path).values()] == [20]


def test_a_store_of_another_version_is_made_again(store, pictures, monkeypatch):
    monkeypatch.setattr("eva_core.store.store.SCHEMA", 99)
    with pytest.raises(Damaged, match="another version"):
        open_store(store.path, Store)


def test_a_store_that_hdf5_wrote_alone_is_no_store(cache):
    path = cache / "old.h5"
    with h5py.File(path, "w") as file:
        file["embeddings"] = np.zeros((3, 2))
    with pytest.raises(Damaged, match="earlier version"):
        Store(path)


def two_parts(key: StoreKey) -> Path:
    writer = PartWriter(key.path)
    for first in (0, 10):
        writer.add(np.arange(first, first + 10), batch(first, 10))
        writer.flush()
    return next(iter(finished_parts(key.path)))


def test_any_damage_of_a_part_is_done_again(key):
    victim, random = two_parts(key), np.random.default_rng(0)
    content = victim.read_bytes()
    flips = [content[:n] for n in (0, 1, 200, len(content) - 1)] + [b"", b"not HDF5 at all" * 100]
    for at in random.integers(536, len(content), 60):
        flips.append(content[:at] + bytes([content[at] ^ (1 << int(random.integers(8)))]) + content[at + 1 :])
    for damaged in flips:
        victim.write_bytes(damaged)
        assert [rows.tolist() for rows in finished_parts(key.path).values()] == [[*range(10, 20)]]
        assert not victim.exists()


def test_a_part_that_cannot_be_read_for_now_stays(key, monkeypatch):
    victim = two_parts(key)

    def fail(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("eva_core.store.hdf5_files.os.pread", fail)
    with pytest.raises(EvaError, match="Input/output error"):
        finished_parts(key.path)
    monkeypatch.undo()
    assert victim.exists()


def test_parts_that_overlap_give_each_row_once(key, pictures):
    writer = PartWriter(key.path)
    for first, n in ((0, 12), (8, 10), (18, 12)):
        writer.add(np.arange(first, first + n), batch(first, n))
        writer.flush()
    merge(key.path, key, pictures, {"device": "cpu"})
    assert (Store(key.path).read(np.arange(30))[:, 0] == np.arange(30)).all()


def test_a_part_may_have_rows_from_anywhere(key, pictures, monkeypatch):
    order = np.random.default_rng(0).permutation(30)
    writer = PartWriter(key.path)
    for rows in (order[:7], order[7:12], order[12:]):
        writer.add(rows, {name: values[rows] for name, values in batch(0, 30).items()})
        writer.flush()
    monkeypatch.setattr("eva_core.store.writer._AT_ONCE", 100)
    merge(key.path, key, pictures, {"device": "cpu"})
    assert Store(key.path).read(np.arange(30))[:, 0].tolist() == [*range(30)]


def test_a_file_that_is_no_part_is_left_alone(key):
    other = key.path.with_name(f"{key.path.name}.notes.part")
    other.write_text("mine")
    assert finished_parts(key.path) == {}
    assert other.exists()


@pytest.mark.parametrize("where", ["fsync", "open", "replace"])
def test_a_full_disk_is_one_line_and_leaves_no_half_file(key, monkeypatch, where: str):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = PartWriter(key.path)
    writer.add(np.arange(10), batch(0, 10))
    if where == "replace":
        monkeypatch.setattr(Path, "replace", full)
    else:
        monkeypatch.setattr(f"eva_core.files.atomic_files.os.{where}", full)
    with pytest.raises(EvaError, match=r"No space left on device; it needs .*Free space"):
        writer.flush()
    assert [p.name for p in key.path.parent.iterdir()] == []
