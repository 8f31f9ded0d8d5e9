"""PatchCamelyon: HDF5 files, packed or not, read in this process and in others."""

import gzip
import multiprocessing
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from eva_vision.datasets.pcam import Pcam
from tests.conftest import picture
from tests.vision.datasets import trees

X = "camelyonpatch_level_2_split_train_x.h5"


COUNTS = {"train": 4, "val": 4, "test": 4}
"""What the tree holds, in place of the published counts."""


def tree(root: Path, n: int = 4, packed: bool = False, slides: bool = True) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for part, letter in (("train", "a"), ("valid", "b"), ("test", "c")):
        stem = root / f"camelyonpatch_level_2_split_{part}"
        pixels = np.stack([picture(ord(letter) + i, size=8) for i in range(n)])
        pixels[n - 1] = pixels[0]  # the real one holds duplicates too
        for kind, data in (("x", pixels), ("y", (np.arange(n) % 2).astype(np.uint8).reshape(n, 1, 1, 1))):
            file = Path(f"{stem}_{kind}.h5")
            with h5py.File(file, "w", track_order=False) as handle:
                handle.create_dataset(kind, data=data, track_times=False)
            if packed:
                Path(f"{file}.gz").write_bytes(gzip.compress(file.read_bytes()))
                file.unlink()
        if slides:
            rows = [{"": i, "coord_x": 1, "wsi": f"camelyon16_{part}_{i // 2:03d}"} for i in range(n)]
            trees.write_table(Path(f"{stem}_meta.csv"), rows)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path / "pcam")


def test_samples_follow_the_files(root: Path):
    dataset = Pcam(str(root))
    assert len(dataset.samples) == 12
    sample = dataset.samples[5]
    assert (sample.id, sample.split, sample.target, sample.group) == ("val_000001", "val", 1, "camelyon16_valid_000")
    with h5py.File(root / "camelyonpatch_level_2_split_valid_x.h5") as file:
        assert np.array_equal(dataset.image(sample), file["x"][1])


def test_packed_files_are_unpacked_once_and_stay(tmp_path: Path, root: Path):
    packed = tree(tmp_path / "packed", packed=True)
    dataset = Pcam(str(packed))
    assert dataset.fingerprint() == Pcam(str(root)).fingerprint()
    assert (packed / X).read_bytes() == gzip.decompress((packed / f"{X}.gz").read_bytes())
    assert (packed / f"{X}.gz").exists()
    written = (packed / X).stat().st_mtime_ns
    assert Pcam(str(packed)).fingerprint() == dataset.fingerprint()
    assert (packed / X).stat().st_mtime_ns == written
    assert not [path.name for path in packed.iterdir() if "unpacking" in path.name]


def test_a_file_packed_in_half_leaves_nothing(tmp_path: Path, refusal):
    packed = tree(tmp_path, packed=True)
    whole = (packed / f"{X}.gz").read_bytes()
    (packed / f"{X}.gz").write_bytes(whole[: len(whole) // 2])
    assert "Cannot unpack" in refusal(Pcam, packed)
    assert not (packed / X).exists()
    (packed / f"{X}.gz").write_bytes(whole)
    assert len(Pcam(str(packed)).samples) == 12


def test_handles_are_opened_once_and_not_by_the_index(root: Path, monkeypatch: pytest.MonkeyPatch):
    dataset = Pcam(str(root))
    opened, real = [], h5py.File
    monkeypatch.setattr(h5py, "File", lambda *a: opened.append(a) or real(*a))
    for sample in dataset.samples * 2:
        dataset.image(sample)
    assert len(opened) == 3


def _means(dataset: Pcam) -> list[float]:
    return [float(dataset.image(s).mean()) for s in dataset.samples]


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_other_processes_read_the_same(root: Path, how: str):
    dataset = Pcam(str(root))
    expected = _means(dataset)  # handles are open now
    with multiprocessing.get_context(how).Pool(1) as pool:
        assert pool.apply(_means, (dataset,)) == expected
    assert _means(pickle.loads(pickle.dumps(dataset))) == expected


def test_a_forked_process_opens_its_own_handles(root: Path, monkeypatch: pytest.MonkeyPatch):
    dataset = Pcam(str(root))
    before = dataset.image(dataset.samples[0])
    reader = dataset._images._readers[dataset.samples[0].path]
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert np.array_equal(dataset.image(dataset.samples[0]), before)
    assert not reader  # closed
    assert dataset._images._process == -1


def test_without_the_meta_files_there_are_no_groups(tmp_path: Path):
    assert {s.group for s in Pcam(str(tree(tmp_path, slides=False))).samples} == {None}


def test_duplicates_are_counted_and_kept(root: Path):
    assert Pcam(str(root)).duplicates() == {"train": 1, "val": 3, "test": 3}


def test_a_missing_file_is_named(root: Path, refusal):
    (root / X).unlink()
    message = refusal(Pcam, root)
    assert f"Expected {X} or {X}.gz" in message
    assert "zenodo.org/records/2546921" in message


def test_another_length_is_counted(tmp_path: Path, refusal):
    assert "5 of 4 in train: 1 extra (no_tumor 3, tumor 2)" in refusal(Pcam, tree(tmp_path, n=5))


def test_images_and_labels_of_other_lengths_are_refused(root: Path, refusal):
    with h5py.File(root / X.replace("_x", "_y"), "w") as file:
        file["y"] = np.zeros((3, 1, 1, 1), np.uint8)
    assert "(3, H, W, 3)" in refusal(Pcam, root)


def test_a_meta_file_of_another_length_is_refused(root: Path, refusal):
    trees.write_table(root / "camelyonpatch_level_2_split_test_meta.csv", [{"wsi": "a"}])
    assert "Expected 4 rows" in refusal(Pcam, root)


@pytest.mark.parametrize("content", [b"", b"no HDF5", gzip.compress(b"x", mtime=0)], ids=["empty", "text", "gzip"])
def test_what_is_no_hdf5_is_named(root: Path, refusal, content: bytes):
    (root / X).write_bytes(content)
    assert X in refusal(Pcam, root)


def test_a_slide_in_two_splits_is_told(root: Path, capsys: pytest.CaptureFixture[str]):
    trees.write_table(root / "camelyonpatch_level_2_split_test_meta.csv", [{"wsi": "camelyon16_train_000"}] * 4)
    Pcam(str(root))
    assert "pcam: 1 groups are in several splits as published: camelyon16_train_000" in capsys.readouterr().err
