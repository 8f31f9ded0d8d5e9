"""`eva pretrain` trains, and prints the folder of the export alone; `--watch` makes the page of a run anew."""

from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_pretrain.monitor.lines import LOG, append_line
from eva_pretrain.run import config, pretrain
from eva_pretrain.run.command import main


def test_the_folder_of_the_export_is_what_it_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(config, "parse", lambda argv: argv)
    monkeypatch.setattr(pretrain, "pretrain", lambda plan: Path("out", *plan, "export"))
    assert main(["a", "b"]) == 0
    assert capsys.readouterr().out == "out/a/b/export\n"


@pytest.mark.parametrize("joined", [False, True])
def test_the_page_of_a_run_is_made_anew_from_its_files(tmp_path: Path, joined: bool, capsys: pytest.CaptureFixture):
    append_line(tmp_path / LOG, {"step": 5, "loss": 2.5})
    assert main([f"--watch={tmp_path}"] if joined else ["--watch", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/watch.html\n"
    text = (tmp_path / "watch.html").read_text()
    assert "Loss <b>2.5</b>" in text
    assert "Stopped at step 5." in text


@pytest.mark.parametrize("argv", [["--watch"], ["--watch", "a", "b"], ["--watch", "nowhere"]])
def test_a_page_of_no_run_is_one_line(argv: list[str]):
    with pytest.raises(UsageError, match=r"^[^\n]+$"):
        main(argv)
