import pytest
from croma.downstream import pathorob_schedule

from eva_vision.datasets import pathorob_schedules


@pytest.mark.parametrize(("name", "patches"), [("camelyon", 300), ("tcga", 30), ("tolkach_esca", 100)])
def test_as_the_published_code_has_them(name: str, patches: int):
    schedule = getattr(pathorob_schedules, name)()
    expected = pathorob_schedule(name, rows_per_slide=patches)
    assert len(schedule.splits) == len(expected)
    for counts, (cells, most) in zip(schedule.splits, expected, strict=True):
        assert {(i, j): counts[i, j] for i, j, _ in cells} == {(i, j): n for i, j, n in cells}
        assert (schedule.validation, *set(schedule.kept.flat)) == (most, most + 1)
