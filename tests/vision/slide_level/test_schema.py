from eva_core.contracts.results import Results, TaskRecord
from eva_vision.slide_level.schema import SlideRecord, SlideResults


def test_pictures_are_what_slides_add():
    assert set(SlideRecord.__annotations__) - set(TaskRecord.__annotations__) == {"pictures", "shapes"}
    assert set(SlideResults.__annotations__) - set(Results.__annotations__) == {"pictures", "shapes"}
