from dataclasses import replace
from pathlib import Path

import pytest

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import UsageError


class Files(Dataset):
    """Two images as files, the second with a label beside it."""

    def __init__(self, root: Path) -> None:
        self.card = DatasetCard("files", classes=("a", "b"), mpp=0.5)
        for name in ("x.png", "y.png", "y.npz"):
            (root / name).write_bytes(name.encode())
        self.samples = [
            Sample("x", "train", 0, root / "x.png", 5, "p", "s", 0.5),
            Sample("y", "test", 1, root / "y.png", 5, label_path=root / "y.npz"),
        ]

    def image(self, sample):
        raise AssertionError("no pixels are read")


@pytest.mark.parametrize("field", ["id", "group", "site"])
def test_names_are_texts(field: str):
    with pytest.raises(UsageError, match=rf"Expected the {field} of a sample as text, but got 3\. Use str\(\)"):
        Sample(**{"id": "x", "split": "train", "target": 0, field: 3})
    assert getattr(Sample(**{"id": "x", "split": "train", "target": 0, field: "\udcfc"}), field) == r"\xfc"


def test_files_are_pixels_and_labels(tmp_path: Path):
    dataset = Files(tmp_path)
    assert [[p.name for p in dataset.files(s)] for s in dataset.samples] == [["x.png"], ["y.png", "y.npz"]]
    assert len(dataset.hashes()) == 3
    assert (dataset.pixels(dataset.samples[0], {}), dataset.report([])) == (None, {})


def test_a_fingerprint_is_of_all_that_is_known(tmp_path: Path):
    known = Files(tmp_path).fingerprint()
    assert Files(tmp_path).fingerprint() == known
    changes = {"id": "z", "split": "val", "target": 1, "bytes": 6, "group": "q", "site": "t", "mpp": 0.25}
    seen = {known}
    for field, value in changes.items():
        dataset = Files(tmp_path)
        dataset.samples[0] = replace(dataset.samples[0], **{field: value})
        seen.add(dataset.fingerprint())
    for card in (DatasetCard("files", classes=("b", "a"), mpp=0.5), DatasetCard("files", classes=("a", "b"))):
        dataset = Files(tmp_path)
        dataset.card = card
        seen.add(dataset.fingerprint())
    dataset = Files(tmp_path)
    dataset.samples.reverse()
    seen.add(dataset.fingerprint())
    (tmp_path / "y.npz").write_bytes(b"other")
    changed = Files.__new__(Files)
    changed.card, changed.samples = dataset.card, dataset.samples[::-1]
    seen.add(changed.fingerprint())
    assert len(seen) == 2 + len(changes) + 2 + 1
