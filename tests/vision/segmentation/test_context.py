import numpy as np
import pytest
import torch

from eva_vision.segmentation.context import Context
from tests.vision.segmentation.tiny import Painted, Pixels, laid_out


@pytest.fixture
def at() -> Context:
    return laid_out(Painted(train=[(16, 16), (37, 23)], test=[(16, 9)]))


def test_a_context_is_a_job_with_its_store_and_rules(at: Context):
    assert at.card is at.dataset.card is at.job.dataset.card
    assert at.head is at.job.head
    assert at.section == at.job.resolved.section
    assert at.cutting.stitch == at.section.stitch
    assert at.device == torch.device("cpu")


def test_the_tiles_of_some_samples_are_theirs_alone(at: Context):
    one, all_of_them = at.stored(np.array([0])), at.stored(np.arange(3))
    assert len(one) == len(at.store.tiles_of(np.array([0])))
    assert 0 < len(one) < len(all_of_them)


def test_what_is_no_segmentation_is_no_context():
    at = laid_out(Painted(train=[(16, 16)], test=[(16, 16)]), Pixels())
    object.__setattr__(at.job, "head", object())
    with pytest.raises(AssertionError):
        _ = at.head
