"""A changed image costs its own embedding; labels, splits and names cost none."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from eva_core.config.protocols import load_protocol
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError
from eva_core.extraction.embed import extract, store_key
from eva_core.extraction.settings import Extraction
from eva_core.store.reuse import contents_of, copies_of_train
from eva_core.store.store import Store
from eva_vision.datasets.folder import Folder
from eva_vision.models.timm import timm_model
from tests.conftest import picture, write_tree
from tests.core.extraction.test_embed import Mean

PROTOCOL = load_protocol("eva-0.4")
HOW = Extraction(device="cpu", batch_size=8, workers=0)


def run(dataset: Dataset, backbone: Backbone | None = None, protocol: Protocol = PROTOCOL) -> tuple[Store, int]:
    """The store, and how many images the model saw."""
    backbone = backbone or Mean()
    store = extract(store_key(backbone, dataset, protocol), backbone, dataset, protocol, HOW, tell=lambda line: None)
    return store, getattr(backbone, "seen", 0)


def everything(store: Store) -> dict[str, bytes]:
    rows = np.arange(store.attributes["n"])
    names = ("embeddings", "colour_stats", "signature", "short_side", "readable")
    return {name: store.read(rows, name).tobytes() for name in names}


def repaint(file: Path, seed: int) -> None:
    Image.fromarray(picture(seed)).save(file)


def fresh(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: Backbone) -> dict[str, bytes]:
    with monkeypatch.context() as patch:
        patch.setenv("EVA_CACHE", str(tmp_path / "empty"))
        return everything(run(dataset, backbone)[0])


def test_changed_new_and_moved_images_cost_their_own_embeddings(tree: Path, tmp_path: Path, monkeypatch):
    assert run(Folder(str(tree)))[1] == 52
    repaint(tree / "train/pink/00.png", 901)  # changed
    repaint(tree / "test/purple/99.png", 902)  # new
    (tree / "val/pink/01.png").unlink()  # gone
    (tree / "train/pink/05.png").rename(tree / "train/purple/05b.png")  # of another class
    (tree / "train/pink/06.png").rename(tree / "test/pink/06b.png")  # of another split
    dataset = Folder(str(tree))
    store, seen = run(dataset)
    assert seen == 2
    assert list(store.ids) == [s.id for s in dataset.samples]
    assert everything(store) == fresh(dataset, tmp_path, monkeypatch, Mean())


def test_a_vision_transformer_gives_the_same_bits_as_a_fresh_extraction(tree: Path, tmp_path: Path, monkeypatch):
    run(Folder(str(tree)), timm_model("test_vit"))
    for i, name in enumerate(("train/pink/03.png", "train/purple/11.png", "test/pink/00.png")):
        repaint(tree / name, 910 + i)
    dataset = Folder(str(tree))
    store, _ = run(dataset, timm_model("test_vit"))
    assert everything(store) == fresh(dataset, tmp_path, monkeypatch, timm_model("test_vit"))


def test_two_folders_of_one_name_and_size_share_what_is_the_same_alone(tmp_path: Path):
    for folder in ("raw", "normalised", "copy"):
        for i in range(6):
            target = tmp_path / folder / "train" / "a" / f"{i}.bmp"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(i, (90, 90, 200) if folder == "normalised" and i < 4 else (200, 120, 180))).save(
                target
            )
    raw, seen = run(Folder(str(tmp_path / "raw")))
    assert seen == 6
    normalised, seen = run(Folder(str(tmp_path / "normalised")))
    assert seen == 4
    assert (raw.read(np.arange(6)) != normalised.read(np.arange(6))).any(1).tolist() == [True] * 4 + [False] * 2
    copy, seen = run(Folder(str(tmp_path / "copy")))
    assert (seen, copy.path) == (0, raw.path)


def test_other_weights_or_preprocessing_share_nothing(tree: Path):
    run(Folder(str(tree)))
    repaint(tree / "train/pink/00.png", 903)
    assert run(Folder(str(tree)), Mean(weight=2.0))[1] == 52
    assert run(Folder(str(tree)), protocol=replace(PROTOCOL, pooling="mean"))[1] == 52
    assert run(Folder(str(tree)))[1] == 1


def test_work_of_an_interrupted_extraction_outlives_the_repair_of_an_image(tree: Path):
    victim = tree / "val" / "purple" / "05.png"  # the last in order
    whole = victim.read_bytes()
    victim.write_bytes(whole[:60])
    with pytest.raises(EvaError, match="Repair it"):
        run(Folder(str(tree)))
    victim.write_bytes(whole)
    store, seen = run(Folder(str(tree)))
    assert seen <= 8  # of the batch that held it
    assert store.skipped == []


def test_images_that_were_skipped_are_tried_again(tree: Path):
    skipping = replace(HOW, on_error="skip")
    victim = tree / "train" / "pink" / "03.png"
    victim.write_bytes(victim.read_bytes()[:60])
    dataset, backbone = Folder(str(tree)), Mean()
    extract(store_key(backbone, dataset, PROTOCOL), backbone, dataset, PROTOCOL, skipping)
    repaint(tree / "test/pink/00.png", 904)
    dataset, backbone = Folder(str(tree)), Mean()
    store = extract(store_key(backbone, dataset, PROTOCOL), backbone, dataset, PROTOCOL, skipping)
    assert backbone.seen == 2
    assert store.skipped == ["train/pink/03.png"]


def test_a_damaged_store_lends_nothing_and_is_left_alone(tree: Path):
    first, _ = run(Folder(str(tree)))
    content = bytearray(first.path.read_bytes())
    with h5py.File(first.path) as file:
        at = file["embeddings"].id.get_offset()
    content[at] ^= 0xFF
    first.path.write_bytes(content)
    repaint(tree / "train/pink/00.png", 905)
    assert run(Folder(str(tree)))[1] == 52
    assert first.path.read_bytes() == bytes(content)


def test_images_that_change_while_they_are_read_are_refused(tree: Path, tmp_path: Path, monkeypatch):
    class Repaints(Mean):
        def forward(self, images):
            if self.seen == 16:
                repaint(tree / "train/pink/00.png", 906)
            return super().forward(images)

    with pytest.raises(EvaError, match="changed meanwhile"):
        run(Folder(str(tree)), Repaints())
    dataset = Folder(str(tree))
    assert everything(run(dataset)[0]) == fresh(dataset, tmp_path, monkeypatch, Mean())


class Cropped(Folder):
    """Reads its files in a way of its own, and does not say so."""

    def __init__(self, root: str, side: int) -> None:
        super().__init__(root)
        self.side = side

    def image(self, sample: Sample) -> np.ndarray:
        return super().image(sample)[: self.side, : self.side]

    def fingerprint(self) -> str:
        return f"{super().fingerprint()}{self.side}"


def test_a_class_that_reads_in_its_own_way_shares_nothing_until_it_says_how(tree: Path):
    run(Folder(str(tree)))
    assert run(Cropped(str(tree), 16))[1] == 52
    assert run(Cropped(str(tree), 8))[1] == 52

    class Told(Cropped):
        def pixels(self, sample, hashes):
            return f"{hashes[sample.path]} {self.side}"

    assert run(Told(str(tree), 16))[1] == 0  # the very same dataset as before
    repaint(tree / "train/pink/00.png", 907)
    assert run(Told(str(tree), 16))[1] == 52  # what was stored before says nothing
    repaint(tree / "train/pink/00.png", 908)
    assert run(Told(str(tree), 16))[1] == 1
    assert run(Told(str(tree), 8))[1] == 52


def test_the_cost_is_that_of_all_rows(tree: Path):
    first, _ = run(Folder(str(tree)))
    shutil.move(tree / "train/pink/00.png", tree / "train/purple/00b.png")
    second, seen = run(Folder(str(tree)))
    assert seen == 0
    assert second.attributes["embed_s"] == pytest.approx(first.attributes["embed_s"])
    assert second.attributes["images_per_s"] == pytest.approx(first.attributes["images_per_s"])


def test_two_datasets_of_other_names_share_images(tmp_path: Path):
    run(Folder(str(write_tree(tmp_path / "one")), name="one"))
    assert run(Folder(str(write_tree(tmp_path / "two")), name="two"))[1] == 0


def test_copies_across_splits_are_counted_once_for_each_image(tree: Path):
    dataset = Folder(str(tree))
    contents, splits = contents_of(dataset), np.array([s.split for s in dataset.samples])
    assert copies_of_train(contents, splits) == {}
    first = {split: np.flatnonzero(splits == split)[0] for split in ("train", "val", "test")}
    contents = contents.copy()
    contents[first["test"]] = contents[first["test"] + 1] = contents[first["train"]]
    contents[first["val"]] = contents[first["test"] + 2]  # of test, not of train
    assert copies_of_train(contents, splits) == {"test": 2}
    assert copies_of_train(np.zeros_like(contents), splits) == {}  # not known is not equal
