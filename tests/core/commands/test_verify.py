from pathlib import Path

import pytest

from eva_core.cli import main
from eva_core.results.record import CONFIG
from tests.core.verification.conftest import write_result


def test_a_line_says_what_holds_and_one_each_what_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    one, two = write_result(tmp_path / "one"), write_result(tmp_path / "two")
    (two / CONFIG).write_text("edited\n")
    assert main(["verify", str(one)]) == 2  # there is no dataset `d`
    out, err = capsys.readouterr()
    assert out.startswith(f"{one}: in part not checked: seal; 4 files; ")
    assert out.count("\n") == 1
    assert "not checked: data and weights: " in err
    assert main(["verify", str(one), str(two)]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[1].startswith(f"{two}: wrong: seal")
    assert f"eva: {two}: config.yaml: expected 20 bytes with SHA-256" in err


def test_a_folder_without_a_result_cannot_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["verify", str(tmp_path)]) == 2
    assert "has no results.json" in capsys.readouterr().err
