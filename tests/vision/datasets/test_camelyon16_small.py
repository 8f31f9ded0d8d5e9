"""CAMELYON16 with fewer patches: the files of the whole one."""

from eva_core.config.protocols import load_protocol
from eva_vision.datasets.camelyon16 import Camelyon16, Camelyon16Small
from tests.vision.datasets import test_camelyon16

COUNTS, NUMBERS, tree = test_camelyon16.COUNTS, test_camelyon16.NUMBERS, test_camelyon16.tree


def test_it_differs_by_the_patches_of_the_published_protocol_alone():
    section = load_protocol("eva-0.4").slide_classification
    small, whole = section.of("camelyon16_small"), section.of("camelyon16")
    assert (small.patches, whole.patches) == (1_000, 10_000)
    assert (small.mpp, small.size, small.tissue, small.reading) == (0.25, 224, 0.35, "level")
    assert Camelyon16Small.card.classes == Camelyon16.card.classes == ("normal", "tumor")
