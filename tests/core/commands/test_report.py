"""`eva report`."""

from pathlib import Path

import pytest

from eva_core.cli import main
from eva_core.results.record import PREDICTIONS, REPORT
from tests.core.reports.conftest import made_up_result


def test_the_page_of_a_finished_result_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = made_up_result(tmp_path / "out", 60)
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / REPORT}\n"
    assert (folder / REPORT).is_file()


def test_what_is_no_result_or_a_damaged_one_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["report", str(tmp_path)]) == 2
    assert "Expected a finished result" in capsys.readouterr().err
    folder = made_up_result(tmp_path / "out", 60)
    (folder / PREDICTIONS).write_bytes(b"")
    assert main(["report", str(folder)]) == 1
    assert "eva fit" in capsys.readouterr().err


def test_a_result_that_lacks_something_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = made_up_result(tmp_path / "out", 60, contamination={"state": "of another program"})
    assert main(["report", str(folder)]) == 1
    assert "results.json lacks what a report shows (KeyError: 'kind')" in capsys.readouterr().err
