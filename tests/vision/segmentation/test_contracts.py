from pathlib import Path

import pytest

from eva_core.contracts.dataset import Sample
from eva_vision.segmentation.contracts import IGNORE, SegmentationDataset, SegmentationHead
from tests.vision.segmentation.tiny import CLASSES, Painted


class Bare(SegmentationDataset):
    """What a plugin must write, and nothing more."""

    def image(self, sample):
        raise NotImplementedError

    def size(self, sample):
        return 3, 4

    def mask(self, sample):
        raise NotImplementedError


def test_a_mask_is_known_where_a_file_holds_it():
    dataset = Bare()
    assert not dataset.labelled(Sample("a", "new", None))
    with_mask = Sample("a", "train", None, label_path=Path("a.png"))
    assert dataset.labelled(with_mask)
    assert (dataset.instances(with_mask), dataset.labels(with_mask, {})) == (None, None)


def test_what_is_ignored_is_no_class():
    dataset = Painted(hole=2, train=[(9, 9)])
    mask = dataset.mask(dataset.samples[0])
    assert (mask[:2, :2] == IGNORE).all()
    assert set(mask[mask != IGNORE].tolist()) <= set(range(len(CLASSES)))


@pytest.mark.parametrize("kind", [SegmentationDataset, SegmentationHead])
def test_contracts_alone_are_abstract(kind: type):
    with pytest.raises(TypeError, match="abstract"):
        kind()
