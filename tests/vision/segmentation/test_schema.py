"""What segmentation adds to results.json; tests/core/contracts/test_results.py holds a result against it."""

from eva_core.contracts.results import Results
from eva_vision.segmentation.schema import SegmentationRecord, SegmentationResults


def test_it_adds_to_what_every_task_says():
    own = {"features", "background", "overlays"}
    assert SegmentationResults.__required_keys__ - Results.__required_keys__ == own
    assert own < SegmentationRecord.__required_keys__ < SegmentationResults.__required_keys__
