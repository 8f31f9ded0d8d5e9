"""Fields that segmentation adds to results.json."""

from typing import Literal, TypedDict

from eva_core.contracts.results import Picture, Results, TaskRecord


class _Own(TypedDict):
    features: Literal["stored", "online"]
    background: str | None
    overlays: list[Picture]


class SegmentationRecord(TaskRecord, _Own):
    """The part that segmentation decides; `background` is the class that means leave out."""


class SegmentationResults(Results, _Own):
    """The content of results.json."""
