"""What results.json holds of a task on slides besides what all tasks have."""

from eva_core.contracts.results import Picture, Results, TaskRecord


class SlideRecord(TaskRecord):
    """Pictures of single samples and of all of them; `shapes` are files of patches with what heads say of them."""

    pictures: list[Picture]
    shapes: list[str]


class SlideResults(Results):
    """All of results.json; results of before lack pictures."""

    pictures: list[Picture]
    shapes: list[str]
