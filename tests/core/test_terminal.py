"""Words that no shell has expanded, and signs that a log cannot hold."""

import io
import sys
from pathlib import Path

import pytest

from eva_core.cli import main
from eva_core.terminal import home_expanded, write_what_can_be_written


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_tilde_is_the_home_folder_wherever_no_shell_helps(home: Path):
    words = ["fit", "--output=~/x", "--dataset.root", "~/data", "--slides", "~/**/*.svs", "--config=~/a.yaml"]
    found = home_expanded(words)
    assert found == [word.replace("~", str(home)) for word in words]
    assert home_expanded(["a~b", "--name=x~y", "~nobody-of-this-name/x"]) == [
        "a~b",
        "--name=x~y",
        "~nobody-of-this-name/x",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_log_of_few_signs_takes_every_line(encoding: str, monkeypatch: pytest.MonkeyPatch):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    write_what_can_be_written()
    print("0.91 ± 0.02, 0.5 µm, a → b, \udcfc, 細胞")
    stream.flush()
    text = written.getvalue().decode(encoding)
    assert text.startswith("0.91 ± 0.02, 0.5 µm, a " if encoding != "ascii" else "0.91 +- 0.02, 0.5 um, a -> b, ?, ??")


def test_the_command_line_gives_a_tilde_its_meaning(home: Path, capsys: pytest.CaptureFixture):
    assert main(["fit", "--config=~/there_is_none.yaml"]) == 2
    assert f"{home}/there_is_none.yaml" in capsys.readouterr().err
