"""PANDA, a fifth of it: other shares of the same slides."""

from pathlib import Path

from eva_core.config.protocols import load_protocol
from eva_vision.datasets.panda import PandaSmall
from tests.vision.datasets import test_panda

COUNTS = {"train": 6, "val": 6, "test": 6}
MD5, tree = test_panda.MD5, test_panda.tree


def test_slides_that_no_split_has_need_not_be_there(tmp_path: Path):
    before = PandaSmall(str(tree(tmp_path))).samples
    used = {s.id for s in before}
    assert len(used) == 18
    for file in (tmp_path / "prostate-cancer-grade-assessment" / "train_images").iterdir():
        if file.stem not in used:
            file.unlink()
    assert PandaSmall(str(tmp_path)).samples == before


def test_the_published_protocol_takes_fewer_patches():
    section = load_protocol("eva-0.4").slide_classification
    assert (section.of("panda_small").patches, section.of("panda").patches) == (200, 1_000)
    assert section.of("panda_small").mpp == 0.5
