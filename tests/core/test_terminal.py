"""Words that no shell has expanded, and signs that a log cannot hold."""

import io
import sys
from pathlib import Path

import pytest

from eva_core.cli import main
from eva_core.config.files import read_yaml
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


def test_a_tilde_in_a_file_is_the_home_folder(home: Path, tmp_path: Path):
    (tmp_path / "a.yaml").write_text("output: ~/out\ndataset: {init_args: {root: ~/data}}\nlist: [~/x, a]\nnone: ~\n")
    assert read_yaml(tmp_path / "a.yaml") == {
        "output": f"{home}/out",
        "dataset": {"init_args": {"root": f"{home}/data"}},
        "list": [f"{home}/x", "a"],
        "none": None,
    }


@pytest.mark.parametrize(
    ("text", "number"), [("3e-4", 3e-4), ("1E3", 1000.0), ("-2e+1", -20.0), ("3.0e-4", 3e-4), ("12", 12), ("e4", "e4")]
)
def test_powers_of_ten_are_numbers(tmp_path: Path, text: str, number):
    (tmp_path / "a.yaml").write_text(f"a: {text}\nb: [{text}]\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": number, "b": [number]}


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
