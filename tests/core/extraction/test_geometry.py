import pytest

from eva_core import registry
from eva_core.config.protocols import load_protocol
from eva_core.contracts.cards import ModelCard
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.extraction.geometry import geometry_at
from eva_core.task import task_named


def test_geometry_makes_the_mpp_and_keeps_to_whole_tokens():
    card = ModelCard("m", dim=384, patch_size=16)
    at = {mpp: geometry_at(mpp, 0.5, 224, Protocol("p"), card) for mpp in (0.25, 0.5, 1, 2, 16)}
    assert at[0.25] is None  # finer than the images
    assert (at[0.5].resize, at[0.5].crop) == (224, 224)
    assert (at[1].resize, at[1].crop) == (112, 112)
    assert (at[2].resize, at[2].crop) == (56, 48)
    assert at[16] is None  # smaller than a token
    assert geometry_at(1, 0.5, 224, Protocol("p"), ModelCard("m", 384, patch_size=16, sizes=(224,))) is None


def test_masks_are_brought_to_another_mpp_and_keep_the_input():
    nuclei, card = registry.datasets.build("phantom_nuclei", train=1, val=1, test=1, size=64), ModelCard("m", 384)
    rules = task_named("segmentation").at_mpp(0.5, 0.25, nuclei, load_protocol("strict"), card)
    assert rules is not None
    assert rules.segmentation.mpp == 0.5
    assert rules.geometry_for(card) == card.geometry
    assert task_named("segmentation").at_mpp(0.1, 0.25, nuclei, load_protocol("strict"), card) is None
    with pytest.raises(UsageError, match="stitches"):
        task_named("segmentation").at_mpp(0.5, 0.25, nuclei, load_protocol("eva-0.4"), card)
