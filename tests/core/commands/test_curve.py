from pathlib import Path

import pytest

from eva_core.cli import main
from eva_core.files.sealed_records import read_record
from tests.conftest import write_tree


def test_a_curve_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_tree(tmp_path / "data", {"train": 10, "test": 8})
    out = tmp_path / "c"
    words = ["--config", "folder", "--dataset.root", str(tmp_path / "data"), "--head", "knn", "--device", "cpu"]
    words += ["--workers", "0", "--shares", "50,100", "--draws", "1", "--output", str(out)]
    assert main(["curve", *words, "--models", "colour_stats"]) == 0
    said = capsys.readouterr()
    assert "labelled samples" in said.out
    assert "colour_stats: 50 % of train, draw 1 of 1: 10 samples" in said.err
    assert said.out.splitlines()[-1] == str(out / "curve.html") or str(out / "curve.html") in said.out
    content = read_record(out / "curve.json")
    assert [facts["n"] for facts in content["shares"]] == [[10], [20]]
    assert content["shares"][0]["n_groups"] is None
    assert {path.name for path in out.iterdir() if path.is_file() and path.name[0] != "."} == {
        *("curve.html", "curve.json", "curve.png")
    }
    assert main(["curve", *words, "--model", "colour_stats"]) == 0
    assert read_record(out / "curve.json") == content


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "a,b", "--model", "c"], "either --model NAME with its arguments, or --models A,B,C"),
        (["--models", ","], "either --model NAME"),
        (["--shares", "1,many", "--models", "a"], "percent with commas, such as 1,10,100, but got 1,many"),
        (["--shares", "200", "--models", "a"], "up to 100, but got 200"),
        (["--draws", "0", "--models", "a"], "--draws to be at least 1"),
        (["--models", "no_such_model"], "no_such_model"),
        (["--config", "folder"], "Expected --model NAME"),
    ],
)
def test_a_wrong_command_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main(["curve", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len([line for line in error.splitlines() if line.startswith("eva")]) <= 1


def test_the_help_says_what_is_drawn(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["curve", "--help"])
    assert "1,2,5,10,20,50,100" in capsys.readouterr().out
