import copy
import csv
import json
from pathlib import Path

import pytest

from eva_core.cli import main
from eva_core.errors import UsageError
from eva_core.results.holds import read_holds
from eva_core.results.record import read_results
from eva_vision.shifts.command import keep_holds, shift, write
from tests.vision.shifts.example import study_of_example


def test_a_finished_result_under_shifts(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["shift", str(fitted), "--changes", "brightness=-0.9,blur=1", "--output", str(tmp_path / "s")]
    assert main([*words, "--workers", "0"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == str(tmp_path / "s/shift.html")
    assert "60 of 60 images are known from earlier" in said.err  # those of the fit
    content = json.loads((tmp_path / "s/shift.json").read_text())
    assert [row["change"] for row in content["models"][0]["shifts"]] == ["brightness", "blur"]
    assert content["models"][0]["shifts"][0]["pixel_difference"] > 50
    assert content["looked_at"] == 60
    label = content["changes"]["brightness"]["label"]
    assert "-0.9" in read_holds(fitted, read_results(fitted))[label]
    assert {p.name for p in (tmp_path / "s").iterdir()} == {"shift.json", "shift.csv", "shift.html", "shift-1.png"}


def test_results_stand_before_flags(capsys: pytest.CaptureFixture[str]):
    assert main(["shift", "--changes", "jpeg", "out/a"]) == 2
    assert "folders of results first" in capsys.readouterr().err


def test_the_help_names_all_changes(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["shift", "--help"])
    assert "mpp_error, noise" in " ".join(capsys.readouterr().out.split())


def test_a_result_that_takes_no_file_is_named(tmp_path: Path):
    study, lines = copy.deepcopy(study_of_example()), list[str]()
    study["models"][0]["result"] = str(tmp_path / "gone")
    keep_holds(study, lines.append)
    assert "A board will not show until where <m> holds." in lines[0]


def test_what_is_no_result_is_refused_before_anything(tmp_path: Path):
    with pytest.raises(UsageError, match="finished result"):
        shift([tmp_path])


def test_everything_is_written_and_the_page_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = write(study_of_example(), tmp_path / "deep" / "folder")
    assert page.name == "shift.html"
    assert len(list(csv.reader(page.with_name("shift.csv").open()))) == 5
    assert "holds until" in capsys.readouterr().out
