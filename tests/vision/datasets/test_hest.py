"""HEST-bench: folds, expression by barcode, dense and sparse; files and lists that are not as published."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from eva_core import registry
from eva_vision.datasets.hest import HestIdc, HestLymphIdc
from tests.conftest import picture
from tests.vision.datasets import trees

SLIDES = ("S0", "S1", "S2", "S3")
GENES = tuple(f"GENE{g}" for g in range(5))
PATCHES = 6


def tree(root: Path, name: str = "hest_idc", slides: Sequence[str] = SLIDES, patches: int = PATCHES) -> Path:
    """A task in the official layout: a fold a slide, patches of 32 px, expression that follows their colour."""
    base = root / name.removeprefix("hest_").upper()
    for number, slide in enumerate(slides):
        pixels = np.stack([picture(100 * number + n, size=32) for n in range(patches)])
        counts = np.stack([expression(image) for image in pixels])
        write_patches(base / f"patches/{slide}.h5", pixels, [f"{n:03d}x{number:03d}" for n in range(patches)])
        # the table has the spots in another order, one more of them, and genes that nobody asks for
        order = [*range(patches)][::-1]
        barcodes = ["none", *(f"{n:03d}x{number:03d}" for n in order)]
        genes = ["OTHER", *GENES[::-1], "ANOTHER"]
        table = np.zeros((patches + 1, len(genes)))
        table[1:, 1:-1] = counts[order][:, ::-1]
        write_h5ad(base / f"adata/{slide}.h5ad", table, barcodes, genes, sparse=number % 2 == 0)
    (base / "var_50genes.json").write_text(json.dumps({"genes": GENES}))
    for fold in range(len(slides)):
        for side in ("train", "test"):
            chosen = [s for s in slides if (s == slides[fold]) == (side == "test")]
            rows = [
                {"": i, "sample_id": s, "patches_path": f"patches/{s}.h5", "expr_path": f"adata/{s}.h5ad"}
                for i, s in enumerate(chosen)
            ]
            trees.write_table(base / f"splits/{side}_{fold}.csv", rows)
    return root


def expression(image: np.ndarray) -> np.ndarray:
    """Counts of genes: of red, of blue, of brightness, and of chance."""
    red, green, blue = image.reshape(-1, 3).mean(0)
    noise = np.random.default_rng(int(image.astype(np.int64).sum())).integers(0, 9, 2)
    return np.floor([red, blue, (red + green + blue) / 3, *noise])


def write_patches(path: Path, pixels: np.ndarray, barcodes: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("img", data=pixels, track_times=False)
        file.create_dataset("barcode", data=np.array(barcodes, object)[:, None], track_times=False)
        file.create_dataset("coords", data=np.zeros((len(pixels), 2), np.int64), track_times=False)


def write_h5ad(path: Path, counts: np.ndarray, obs: Sequence[str], var: Sequence[str], sparse: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(parent: Any, name: str, values: np.ndarray) -> None:
        parent.create_dataset(name, data=values, track_times=False)

    with h5py.File(path, "w") as file:
        for kind, names in (("obs", obs), ("var", var)):
            group = file.create_group(kind)
            group.attrs["_index"] = "_index"
            write(group, "_index", np.array(names, object))
        if not sparse:
            write(file, "X", counts.astype(np.float32))
            return
        group = file.create_group("X")
        group.attrs["encoding-type"] = "csr_matrix"
        rows, columns = np.nonzero(counts)
        write(group, "data", counts[rows, columns].astype(np.float32))
        write(group, "indices", columns.astype(np.int32))
        write(group, "indptr", np.searchsorted(rows, np.arange(len(counts) + 1)).astype(np.int32))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_each_patch_has_the_expression_of_its_barcode(root: Path):
    dataset = HestIdc(str(root))
    assert len(dataset.samples) == len(SLIDES) * PATCHES
    assert dataset.card.classes == GENES
    for sample in dataset.samples:
        assert sample.target == pytest.approx(np.log1p(expression(dataset.image(sample))))
    sample = dataset.samples[7]
    assert (sample.id, sample.split, sample.group, sample.mpp) == ("S1/001x001", "cv", "S1", 0.5)


def test_folds_are_those_of_the_lists(root: Path):
    folds = HestIdc(str(root)).folds()
    assert [list(fold.test) for fold in folds] == [[slide] for slide in SLIDES]
    assert list(folds[1].train) == ["S0", "S2", "S3"]


def test_other_folds_of_the_same_files_are_another_dataset(root: Path, tmp_path: Path):
    before = HestIdc(str(root)).fingerprint()
    splits = root / "IDC/splits"
    lines = (splits / "train_0.csv").read_text().splitlines()
    (splits / "train_0.csv").write_text("\n".join(lines[:-1]))
    assert HestIdc(str(root)).fingerprint() != before


@pytest.mark.parametrize("place", [".", "IDC"])
def test_the_root_may_be_the_folder_of_the_task(root: Path, place: str):
    assert HestIdc(str(root / place)).fingerprint() == HestIdc(str(root)).fingerprint()


def test_there_are_nine_tasks_with_a_folder_each():
    entries = [entry for entry in registry.datasets.entries() if entry.name.startswith("hest_")]
    folders = {entry.name: entry.load().folder for entry in entries}
    assert len(folders) == 9
    assert folders == {name: name.removeprefix("hest_").upper() for name in folders}
    assert HestLymphIdc.card.licence == "CC BY-NC-SA 4.0"


def test_loader_processes_open_files_of_their_own(root: Path):
    dataset = HestIdc(str(root))
    sample = dataset.samples[3]
    before = dataset.image(sample)
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).image(sample), before)


@pytest.mark.parametrize("file", ["patches/S1.h5", "adata/S1.h5ad", "splits/train_2.csv", "var_50genes.json"])
def test_a_missing_file_is_named(root: Path, refusal, file: str):
    (root / "IDC" / file).unlink()
    assert file.rpartition("/")[2] in refusal(HestIdc, root)


def test_a_fold_that_is_missing_is_told(root: Path, refusal):
    (root / "IDC/splits/test_1.csv").unlink()
    assert "Expected test_0.csv, test_1.csv, ..." in refusal(HestIdc, root)


def test_where_to_get_it(tmp_path: Path, refusal):
    assert "huggingface.co/datasets/MahmoodLab/hest-bench" in refusal(HestIdc, tmp_path)


@pytest.mark.parametrize("file", ["patches/S1.h5", "adata/S1.h5ad"])
def test_a_file_that_is_cut_is_named(root: Path, refusal, file: str):
    path = root / "IDC" / file
    path.write_bytes(path.read_bytes()[:500])
    assert f"{path}, but it does not read" in refusal(HestIdc, root)


def test_genes_that_are_no_list_are_named(root: Path, refusal):
    (root / "IDC/var_50genes.json").write_text('{"genes": ["A", "A"]}')
    assert "each once" in refusal(HestIdc, root)
    (root / "IDC/var_50genes.json").write_text("[")
    assert "does not read" in refusal(HestIdc, root)


def test_images_and_barcodes_of_other_numbers_are_refused(root: Path, refusal):
    write_patches(root / "IDC/patches/S2.h5", np.zeros((2, 8, 8, 3), np.uint8), ["a"])
    assert "uint8 (1, H, W, 3)" in refusal(HestIdc, root)
    write_patches(root / "IDC/patches/S2.h5", np.zeros((2, 8, 8, 3), np.uint8), ["a", "a"])
    assert "a stand twice" in refusal(HestIdc, root)


def test_a_patch_without_expression_is_named(root: Path, refusal):
    write_patches(root / "IDC/patches/S2.h5", np.zeros((1, 8, 8, 3), np.uint8), ["lost"])
    assert "1 of them have no expression there: lost" in refusal(HestIdc, root)


def _edit(root: Path, fold: int, side: str, slide: str) -> None:
    path = root / f"IDC/splits/{side}_{fold}.csv"
    rows = [{"sample_id": slide, "patches_path": f"patches/{slide}.h5", "expr_path": f"adata/{slide}.h5ad"}]
    trees.write_table(path, rows)


def test_a_slide_on_both_sides_is_refused(root: Path, refusal):
    _edit(root, 0, "train", "S0")
    assert "S0 are in both lists" in refusal(HestIdc, root)


def test_a_slide_that_is_scored_twice_is_refused(root: Path, refusal):
    _edit(root, 0, "train", "S2")
    _edit(root, 0, "test", "S1")
    assert "S1 are in more" in refusal(HestIdc, root)
