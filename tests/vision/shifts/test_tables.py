import copy
import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from eva_vision.shifts.tables import COLUMNS, holds, holds_text, show, write_csv
from tests.vision.shifts.example import study_of_example


def test_a_row_for_each_shift_and_one_for_the_images_as_they_are(tmp_path: Path):
    content = study_of_example()
    rows = list(csv.DictReader(write_csv(content, tmp_path / "shift.csv").open()))
    assert list(rows[0]) == list(COLUMNS)
    assert [(r["change"], r["strength"]) for r in rows] == [
        ("none", ""),
        ("jpeg", "90.0"),
        ("jpeg", "50.0"),
        ("jpeg", "10.0"),
    ]
    row = content["models"][0]["shifts"][2]
    assert float(rows[3]["flipped_patients"]) == pytest.approx(row["flipped"]["patients"]["mean"], abs=1e-6)
    assert float(rows[3]["difference_low"]) == pytest.approx(row["difference"]["ci95"][0], abs=1e-6)
    assert rows[3]["drop_told"] == "True"
    assert rows[0]["difference"] == ""


def test_the_screen_says_until_where_each_model_holds():
    console = Console(file=io.StringIO(), width=100)
    show(study_of_example(), console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "<m>" in said
    assert "50, drops at 10" in said
    assert "as the images are" in said


def test_names_that_drop_are_listed():
    sides = [{"side": n, "until": None, "first": first, "tried": n} for n, first in (("box", None), ("nearest", "x"))]
    assert holds_text(sides, ordered=False) == "drops: nearest"
    assert holds_text(sides[:1], ordered=False) == "all that were tried"
    assert (
        holds_text([{"side": "", "until": None, "first": 0.5, "tried": 1.0}], True) == "drops at 0.5, the mildest tried"
    )


def test_a_model_that_knows_nothing_holds_nowhere():
    content = copy.deepcopy(study_of_example())
    entry = content["models"][0]
    assert holds(content, entry, "jpeg") == holds_text(entry["holds"]["jpeg"], ordered=True)
    entry["clean"]["accuracy"]["ci95"] = [0.2, 0.5]
    assert holds(content, entry, "jpeg") == "no better than chance as it is"
