import json
from pathlib import Path

import pytest

from eva_core.cli import main
from eva_core.errors import EvaError
from eva_vision.robustness import command
from eva_vision.robustness.schema import SCHEMA


def test_models_on_one_dataset(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    argv = ["robustness", *words, "--model", "colour_stats", "--output", str(tmp_path / "deep/r")]
    assert main([*argv, "--leave_site_out", "--head", "knn"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == str(tmp_path / "deep/r/robustness.html")
    assert "CRoMa" in said.out
    content = json.loads((tmp_path / "deep/r/robustness.json").read_text())
    assert content["schema"] == SCHEMA
    (record,) = content["models"]
    assert record["model"] == "colour_stats"
    assert list(record["left_out"]["sites"]) == ["A", "B", "C"]  # C is out of distribution for the index
    assert "knn on the others" in said.out.replace("\n", " ")
    assert {p.name for p in (tmp_path / "deep/r").iterdir()} == {"robustness.json", "robustness.html"}


def test_a_stop_before_the_end_leaves_no_json_and_the_next_run_ends(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    argv = ["robustness", *words, "--model", "colour_stats", "--output", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr("eva_vision.robustness.page.write_page", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(argv) == 130
    assert not (tmp_path / "robustness.json").exists()
    assert main(argv) == 0


def test_a_folder_of_images_without_sites_is_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    argv = ["robustness", "--dataset", "phantom", "--model", "colour_stats", "--output", str(tmp_path)]
    assert main(argv) == 2
    assert "at least 2 sites in phantom, but no site is known" in capsys.readouterr().err


def test_numbers_only(tmp_path: Path):
    content = {"models": [], "notes": [], "dataset": "x", "n": 1, "sites": {"A": {}}, "synthetic": False}
    rest = {"n_groups": 1, "interval": "group", "parts": 1, "schema": 1}
    with pytest.raises(EvaError, match="NaN"):
        command.write({**content, **rest, "x": float("nan")}, tmp_path)
