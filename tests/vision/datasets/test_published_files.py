"""What the public datasets share."""

from pathlib import Path

import pytest

from eva_core import registry
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError
from eva_vision.datasets.published_files import check_counts, locate, refuse, refuse_crossing, scan
from eva_vision.slide_level.contracts import SlideDataset
from tests.vision.datasets import trees

CARD = DatasetCard(name="it", classes=("a", "b"), access="ask")


COUNTED = [
    name
    for name in trees.with_tree()
    if hasattr(trees.module_of(name), "COUNTS") and not issubclass(registry.datasets.load(name), SlideDataset)
]
"""Of datasets of slides each is named, or the table has a checksum: their own tests say what is missing."""


@pytest.mark.parametrize("name", COUNTED)
def test_a_tiny_tree_is_refused_under_the_published_counts(name: str, tmp_path: Path):
    kind = registry.datasets.load(name)
    drawn = getattr(kind, "drawn", ())
    together = {" and ".join(drawn): sum(kind.counts[split] for split in drawn)} if drawn else {}
    published = {**together, **{split: n for split, n in kind.counts.items() if split not in drawn}}
    root = trees.write(name, tmp_path)
    with pytest.raises(UsageError, match=".*".join(f"of {n:,} in {split}" for split, n in published.items())):
        trees.build(name, root)


def test_scan_is_sorted_and_takes_folders_below_and_any_case(tmp_path: Path):
    for name in ("b.tif", "a/z.TIF", "a/deep/y.tif", ".hidden.tif", ".git/x.tif", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"123")
    assert list(scan(tmp_path, ".tif").items()) == [("a/deep/y.tif", 3), ("a/z.TIF", 3), ("b.tif", 3)]
    assert scan(tmp_path / "nowhere", ".tif") == {}


def test_scan_follows_links_to_data_elsewhere(tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.tif").write_bytes(b"1234")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "disk")
    assert scan(tmp_path / "root", ".tif") == {"linked/a.tif": 4}


def test_locate_prefers_the_whole_path(tmp_path: Path):
    for place in ("y", "x/y"):
        (tmp_path / place).mkdir(parents=True)
    assert locate(tmp_path, "x/y", CARD) == tmp_path / "x" / "y"
    assert locate(tmp_path / "x", "x/y", CARD) == tmp_path / "x" / "y"
    assert locate(tmp_path / "x" / "y", "x/y", CARD) == tmp_path / "x" / "y"
    with pytest.raises(UsageError, match=r"Expected z in .* To get it: ask\."):
        locate(tmp_path, "z", CARD)


def test_locate_takes_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data" / "x").mkdir(parents=True)
    assert locate("~/data", "x", CARD) == tmp_path / "data" / "x"


def test_long_lists_are_cut_and_counted(tmp_path: Path):
    refuse(tmp_path, {"a": 1}, missing=[], extra=[])
    with pytest.raises(UsageError, match=r"40 missing \(0, 1, 2, 3, 4 and 35 more\)"):
        refuse(tmp_path, {}, missing=[str(i) for i in range(40)])


def test_counts_that_fit_pass(tmp_path: Path):
    check_counts(tmp_path, {"train": 1}, [Sample("x", "train", 0)], CARD)


def test_scan_follows_links_and_takes_a_file_by_each_of_its_names(tmp_path):
    """Stores of data keep equal images once, and link to them."""
    root, pool = tmp_path / "root", tmp_path / "pool"
    for folder in (root / "a", pool / "b"):
        folder.mkdir(parents=True)
    (pool / "1").write_bytes(b"12")
    (pool / "b" / "3.tif").write_bytes(b"123")
    for name in ("a/1.tif", "a/2.TIF"):
        (root / name).symlink_to(pool / "1")
    (root / "b").symlink_to(pool / "b")
    (root / "a" / "up").symlink_to("..")
    (root / "a" / ".4.tif").touch()
    assert scan(root, ".tif") == {"a/1.tif": 2, "a/2.TIF": 2, "b/3.tif": 3}
    assert scan(root / "none", ".tif") == {}
    (root / "c").symlink_to("b")
    with pytest.raises(UsageError, match="c = b"):
        scan(root, ".tif")
    (root / "c").unlink()
    (root / "c").symlink_to("gone")
    with pytest.raises(UsageError, match=r"c \(a link that leads nowhere: no such file or directory\)"):
        scan(root, ".tif")


def test_groups_that_cross_splits_are_refused_and_spellings_of_one_are_told(capsys: pytest.CaptureFixture[str]):
    refuse_crossing([("p1", "train"), ("p1", "train"), ("p2", "test"), (None, "train"), (None, "test")])
    assert capsys.readouterr().err == ""
    with pytest.raises(UsageError, match=r"1 groups cross splits: p1 \(test, train\). Correct it."):
        refuse_crossing([("p1", "train"), ("p1", "test"), ("p2", "test")], "Correct it")
    refuse_crossing(
        [("P 1", "train"), ("p 1 ", "test"), ("7", "train"), ("7.0", "val"), ("x", "train"), ("X", "train")]
    )
    said = capsys.readouterr().err
    assert "2 groups cross splits if these spellings are one" in said
    assert "P 1 (train) = p 1  (test), 7 (train) = 7.0 (val)" in said
