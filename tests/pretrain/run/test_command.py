"""`eva pretrain` trains what it parsed, and prints the folder of the export alone."""

from pathlib import Path

import pytest

from eva_pretrain.run import config, pretrain
from eva_pretrain.run.command import main


def test_the_folder_of_the_export_is_what_it_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(config, "parse", lambda argv: argv)
    monkeypatch.setattr(pretrain, "pretrain", lambda plan: Path("out", *plan, "export"))
    assert main(["a", "b"]) == 0
    assert capsys.readouterr().out == "out/a/b/export\n"
