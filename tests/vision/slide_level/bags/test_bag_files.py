import json
from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_core.files.checksums import Damaged
from eva_vision.slide_level.bags.bag_files import BagWriter, are_there, is_there, read_bag, read_rows
from eva_vision.slide_level.bags.places import Places

FACTS = {"slide": "a.svs", "width": 100, "height": 80, "slide_mpp": 0.5, "device": "cpu"}


def places(n: int) -> Places:
    corners = np.arange(2 * n, dtype=np.int32).reshape(n, 2)
    return Places(corners, 64.0, 0.5, 64, None, n + 3)


def rows(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"embeddings": rng.normal(size=(n, 5)).astype(np.float32), "colour_stats": rng.random((n, 6), np.float32)}


def writer(path: Path, n: int, dtype: type = np.float32, seconds: float = 10) -> BagWriter:
    return BagWriter(path, places(n), np.dtype(dtype), FACTS, seconds)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_bag_holds_what_was_added_in_any_order(tmp_path: Path, dtype: type):
    values, bag = rows(7), writer(tmp_path / "ab" / "bag.h5", 7, dtype)
    for numbers in (np.array([4, 5, 6]), np.array([0, 1, 2, 3])):
        bag.add(numbers, {name: of[numbers] for name, of in values.items()})
    assert not is_there(bag.path)
    bag.finish()
    assert is_there(bag.path)
    assert read_rows(bag.path).dtype == dtype
    assert np.array_equal(read_rows(bag.path), values["embeddings"].astype(dtype))
    assert np.array_equal(read_rows(bag.path, "coords"), places(7).coords)
    known = read_bag(bag.path)
    assert (known.count, known.facts["candidates"], known.facts["width"]) == (7, 10, 100)
    assert np.allclose(known.mean, values["embeddings"].astype(dtype).mean(0), atol=1e-3)


def test_parts_of_a_killed_run_are_gone_on_from(tmp_path: Path):
    values, path = rows(6), tmp_path / "bag.h5"
    first = writer(path, 6, seconds=0)  # every batch is a part
    first.add(np.array([0, 1]), {name: of[:2] for name, of in values.items()})
    second = writer(path, 6)
    second.add(np.array([2, 3, 4, 5]), {name: of[2:] for name, of in values.items()})
    second.finish()
    assert np.array_equal(read_rows(path), values["embeddings"])
    assert [*tmp_path.glob("*.part")] == []


def test_a_missing_patch_is_no_bag(tmp_path: Path):
    bag = writer(tmp_path / "bag.h5", 3)
    bag.add(np.array([0]), rows(1))
    with pytest.raises(EvaError, match=r"Expected 3 patches of a\.svs, but got 1"):
        bag.finish()
    assert not is_there(bag.path)


def test_a_slide_without_tissue_is_a_bag_too(tmp_path: Path):
    bag = writer(tmp_path / "bag.h5", 0)
    bag.finish()
    assert read_bag(bag.path).count == 0


def test_what_overflows_half_precision_is_refused(tmp_path: Path):
    bag = writer(tmp_path / "bag.h5", 2, np.float16)
    values = rows(2)
    values["embeddings"][1, 0] = 1e6
    with pytest.raises(EvaError, match=r"patch at 2, 3 of a\.svs gave others\. Keep"):
        bag.add(np.array([0, 1]), values)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"x" + path.read_bytes()[1:])])
def test_a_summary_that_is_gone_or_damaged_is_made_of_the_bag(tmp_path: Path, harm):
    bag = writer(tmp_path / "bag.h5", 2, np.float16)
    bag.add(np.array([0, 1]), rows(2))
    bag.finish()
    before, summary = read_bag(bag.path), tmp_path / "bag.json"
    harm(summary)
    again = read_bag(bag.path)
    assert (again.count, again.facts) == (before.count, before.facts)
    assert np.array_equal(again.mean, before.mean)
    assert json.loads(summary.read_bytes().partition(b"\n")[2])[0] == 2


def test_many_bags_are_looked_for_at_once(tmp_path: Path):
    (tmp_path / "b.h5").touch()
    assert are_there(tmp_path / name for name in ("a.h5", "b.h5", "c.h5")) == [False, True, False]


def test_a_flipped_byte_is_found(tmp_path: Path):
    bag = writer(tmp_path / "bag.h5", 2)
    bag.add(np.array([0, 1]), rows(2))
    bag.finish()
    content = bytearray(bag.path.read_bytes())
    content[-3] ^= 1
    bag.path.write_bytes(content)
    with pytest.raises(Damaged):
        read_rows(bag.path)
