import copy
from pathlib import Path

from PIL import Image

from eva_vision.shifts.plot import draw
from tests.vision.shifts.example import study_of_example


def test_a_panel_a_change(tmp_path: Path):
    content = copy.deepcopy(study_of_example())
    one = Image.open(draw(content, 0, tmp_path / "one.png")).size
    rows = content["models"][0]["shifts"]
    for row in [dict(row) for row in rows]:
        rows.append({**row, "change": "kernel", "strength": f"k{row['strength']}", "pixel_difference": None})
    content["changes"]["kernel"] = {"label": "kernel", "ordered": False, "neutral": 0.0}
    content["changes"]["jpeg"]["neutral"] = 60.0  # strengths on two sides of it
    two = Image.open(draw(content, 0, tmp_path / "two.png")).size
    assert two[0] > one[0]
    assert two[1] == one[1]
