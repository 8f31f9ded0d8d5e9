import csv
import json
from pathlib import Path

import pytest

from eva_core.cli import main
from eva_core.errors import UsageError
from eva_vision.shifts.command import shift, write
from tests.vision.shifts.example import study_of_example

DATA = ["--dataset.mpp", "0.5", "--workers", "0", "--device", "cpu"]


def test_a_finished_result_under_shifts(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    fit = ["fit", "--config", "folder", "--dataset.root", str(tree), "--model", "colour_stats", "--head", "knn"]
    assert main([*fit, *DATA, "--output", "out/a"]) == 0
    words = ["shift", "out/a", "--changes", "brightness=-0.9,blur=1", "--output", str(tmp_path / "s"), "--workers", "0"]
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == str(tmp_path / "s/shift.html")
    first = json.loads((tmp_path / "s/shift.json").read_text())
    assert [row["change"] for row in first["models"][0]["shifts"]] == ["brightness", "blur"]
    assert first["models"][0]["shifts"][0]["pixel_difference"] > 50
    assert first["looked_at"] == 16
    assert {p.name for p in (tmp_path / "s").iterdir()} == {"shift.json", "shift.csv", "shift.html", "shift-1.png"}
    assert main(words) == 0  # from the store
    assert "images/s" not in [line for line in capsys.readouterr().err.splitlines() if "colour_stats on" in line]
    assert json.loads((tmp_path / "s/shift.json").read_text()) == first
    assert main(["shift", "--changes", "jpeg", "out/a"]) == 2
    assert "folders of results first" in capsys.readouterr().err


def test_what_is_no_result_is_refused_before_anything(tmp_path: Path):
    with pytest.raises(UsageError, match="finished result"):
        shift([tmp_path])


def test_everything_is_written_and_the_page_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = write(study_of_example(), tmp_path / "deep" / "folder")
    assert page.name == "shift.html"
    assert len(list(csv.reader(page.with_name("shift.csv").open()))) == 5
    assert "holds until" in capsys.readouterr().out
