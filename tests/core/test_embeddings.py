import h5py
import numpy as np
import pytest
import torch

from eva_core.cache import locked
from eva_core.embeddings import Store, StoreKey, open_store
from eva_core.errors import EvaError
from eva_core.parts import PartWriter, finished_parts, keep_parts_of, merge


def batch(first: int, n: int, dim: int = 4) -> dict[str, np.ndarray]:
    rows = np.arange(first, first + n, dtype=np.float32)
    return {
        "embeddings": np.repeat(rows[:, None], dim, 1),
        "colour_stats": np.zeros((n, 6), np.float32),
        "signature": np.zeros((n, 64), np.float32),
        "short_side": np.full(n, 32),
        "readable": np.ones(n, bool),
    }


@pytest.fixture
def key(cache) -> StoreKey:
    (cache / "pictures").mkdir()
    return StoreKey("m", "pictures", {"a": 1})


@pytest.fixture
def store(key, pictures) -> Store:
    writer = PartWriter(key.path)
    for first in range(0, 30, 10):
        writer.add(first, batch(first, 10))
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
    monkeypatch.setattr("eva_core.embeddings.BLOCK", 7)
    rows = store.rows("train")
    assert [pictures.samples[i].split for i in rows] == ["train"] * len(rows)
    data = store.embedded(rows)
    assert torch.equal(data.x[:, 0], torch.from_numpy(rows).float())
    assert data.y.tolist() == [pictures.samples[i].target for i in rows]


def test_the_key_is_the_content_whatever_its_order():
    assert StoreKey("m", "d", {"a": 1, "b": 2}).sha256 == StoreKey("m", "d", {"b": 2, "a": 1}).sha256
    assert StoreKey("m", "d", {"a": 1}).sha256 != StoreKey("m", "d", {"a": 2}).sha256
    assert "/" not in StoreKey("hf-hub:a/b", "d", {}).path.name


def test_a_store_cut_in_half_is_removed_with_a_warning(store):
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EvaError, match="damaged"):
        Store(store.path)
    with pytest.warns(UserWarning, match="extracted again"):
        assert open_store(store.path, Store) is None
    assert not store.path.exists()


def test_a_flipped_byte_is_noticed(store):
    content = bytearray(store.path.read_bytes())
    at = bytes(content).find(np.full(4, 17, np.float32).tobytes())
    content[at] ^= 0xFF
    store.path.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        assert open_store(store.path, Store) is None


def test_a_store_with_fewer_rows_than_its_dataset_is_refused(store):
    with h5py.File(store.path, "a") as file:
        file.attrs["n"] = 31
    with pytest.raises(EvaError, match="Expected 31 rows"):
        Store(store.path)


def test_a_damaged_part_is_done_again(key):
    writer = PartWriter(key.path)
    for first in (0, 10):
        writer.add(first, batch(first, 10))
        writer.flush()
    victim = finished_parts(key.path)[0, 10]
    victim.write_bytes(victim.read_bytes()[:200])
    assert list(finished_parts(key.path)) == [(10, 20)]
    assert not victim.exists()


def test_a_full_disk_is_one_line_and_leaves_no_half_file(key, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    writer = PartWriter(key.path)
    writer.add(0, batch(0, 10))
    monkeypatch.setattr("eva_core.parts.os.fsync", full)
    with pytest.raises(EvaError, match=r"No space left on device.*finished parts are kept"):
        writer.flush()
    assert [p.name for p in key.path.parent.iterdir()] == []


def test_a_second_holder_waits_and_is_told(key):
    import threading

    told: list[str] = []
    order: list[str] = []

    def second() -> None:
        with locked(key.path, told.append):
            order.append("second")

    with locked(key.path):
        thread = threading.Thread(target=second)
        thread.start()
        while not told:
            pass
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert "Waiting for another process" in told[0]


def test_parts_of_other_rows_are_not_taken_over(key: StoreKey):
    keep_parts_of(key.path, "a")
    writer = PartWriter(key.path)
    writer.add(0, {"embeddings": np.ones((3, 2), np.float32)})
    writer.flush()
    keep_parts_of(key.path, "a")
    assert list(finished_parts(key.path)) == [(0, 3)]
    keep_parts_of(key.path, "b")
    assert not finished_parts(key.path)
