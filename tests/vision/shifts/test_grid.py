from pathlib import Path

import pytest
from PIL import Image

from eva_core.errors import UsageError
from eva_vision.shifts.grid import grid_of
from tests.conftest import picture


def strengths(text: str) -> dict[str, list[float | str]]:
    grid, left_out = grid_of(text, None, known_mpp=True)
    assert left_out == []
    return {name: [shift.strength for shift in shifts] for name, shifts in grid.items()}


def test_strengths_run_from_mild_to_strong_on_each_side():
    assert strengths("jpeg=10:90, stain=0.4:-0.1:0.1:-0.4") == {
        "jpeg": [90.0, 10.0],
        "stain": [-0.1, -0.4, 0.1, 0.4],
    }
    assert strengths("flip,kernel=box")["kernel"] == ["box"]


def test_all_that_can_be_made_are_made(tmp_path: Path):
    grid, left_out = grid_of(None, None, known_mpp=False)
    assert "jpeg" in grid
    assert not {"blur", "stain_swap"} & grid.keys()
    assert [line.split()[0] for line in left_out] == ["blur", "stain_swap"]
    Image.fromarray(picture(0)).save(tmp_path / "lent.png")
    grid, left_out = grid_of(None, tmp_path / "lent.png", known_mpp=True)
    assert {"blur", "stain_swap"} <= grid.keys()
    assert left_out == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jpg", "Did you mean jpeg"),
        ("jpeg=0", "strengths from 1 to 100, such as jpeg=90:70:50:30:10, but got '0'"),
        ("jpeg=much", "but got 'much'"),
        ("jpeg=5:5", "different strengths"),
        ("jpeg,jpeg", "jpeg twice"),
        ("flip=sideways", "flip as left_right:up_down"),
        ("stain_swap", "--reference IMAGE"),
        (",", "There are blur, brightness"),
    ],
)
def test_what_cannot_be_done_is_a_line(text: str, message: str):
    with pytest.raises(UsageError, match=message):
        grid_of(text, None, known_mpp=True)


def test_a_reference_that_is_no_image_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match="as --reference"):
        grid_of("jpeg", tmp_path / "none.png", known_mpp=True)
    with pytest.raises(UsageError, match=r"--dataset\.mpp"):
        grid_of("blur", None, known_mpp=False)
