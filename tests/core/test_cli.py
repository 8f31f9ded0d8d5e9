import re
import subprocess
import sys
from pathlib import Path

import pytest

from eva_core import cli
from eva_core.cli import main


def test_version_and_help(capsys: pytest.CaptureFixture):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "eva 0.1.0\n"
    assert main([]) == 0
    assert "fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["fitt"], 2, "Unknown command 'fitt'. Did you mean fit?"),
        (["models", "colour"], 2, "Unknown model 'colour'"),
        (["models", "a", "b"], 2, "Unrecognized arguments: b. See `eva models --help`"),
        (["fit", "--model"], 2, "Expected a value after --model."),
        (["fit", "--config", "folder", "--model", "colour_stats", "--dataset.root", "Dr\udcfcse"], 2, "got Dr\\xfcse."),
        (["fit", "--dataset", "phantom"], 2, "Expected --model NAME."),
        (["fit", "--model", "colour_stats"], 2, "Expected --dataset NAME."),
        (["fit", "--model", "colour_stat", "--dataset", "phantom"], 2, "Did you mean colour_stats?"),
        (["fit", "--config", "foldr"], 2, "Did you mean folder or mask_folder"),
        (["fit", "--protocol", "eva-0.5"], 2, "No protocol 'eva-0.5'"),
        (["fit", "--model", "random_vits16", "--model.depth", "many"], 2, "--model.depth: Expected int"),
        (["fit", "--model", "random_vits16", "--model.dept", "3"], 2, "accepted. `eva models random_vits16` lists"),
        (["fit", "--model", "timm_model", "--model.pad", "same"], 2, "write --model.dict_kwargs.pad, or"),
        (["fit", "--on_error", "ignore"], 2, "--on_error"),
        (["fit", "--model", "colour_stats", "--dataset", "folder", "--dataset.root", "/nowhere"], 2, "/nowhere"),
        (["predict", "--head"], 2, "Expected the folder of a finished result"),
        (["predict", "--head", "/nowhere"], 2, "has no results.json"),
        (["doctor", "x"], 2, "Expected `eva doctor` alone"),
        (["completion", "fish"], 2, "Expected `eva completion bash` or `zsh`"),
        (["pretrain"], 2, "the following arguments are required: method"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_2(argv, code, message, capsys: pytest.CaptureFixture):
    assert main(argv) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("eva: ")
    assert err.count("\n") == 1


def test_ctrl_c_is_one_line_and_exit_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("eva_core.commands.doctor.main", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == ("eva: Stopped. Finished parts are kept: the same command goes on from there.\n")


def test_an_unexpected_failure_is_one_line_and_exit_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def failing(argv: list[str]) -> int:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("eva_core.commands.doctor.main", failing)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "eva: RuntimeError: first second (EVA_DEBUG=1 shows where)\n"
    monkeypatch.setenv("EVA_DEBUG", "1")
    main(["doctor"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--head", "knn", "--head.k", "[0]"], "argument k"),
        (["--head", "mlp", "--head.hidden", "0"], "argument hidden of at least 1, but got 0"),
        (["--head", "simpleshot", "--head.shots", "-1"], "argument shots"),
        (["--dataset.mpp", "0"], "mpp above 0, but got 0"),
        (["--dataset.mpp", "-0.5"], "mpp above 0"),
        (["--batch_size", "0"], "--batch_size of at least 1, but got 0"),
        (["--protocol.geometry.crop", "0"], r"protocol\.geometry\.crop to be at least 1, but got 0"),
    ],
)
def test_wrong_numbers_are_one_line_that_names_them(flags, said, tree, capsys):
    assert main(["fit", "--config", "folder", "--dataset.root", str(tree), "--model", "colour_stats", *flags]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(said, line), line
    assert "Union" not in line


@pytest.mark.parametrize(
    "flags", [["--model.std", "[0, 1, 1]"], ["--model.mean", "[0.5]"], ["--model.std", "[1, 1, 1, 1]"]]
)
def test_a_normalisation_that_makes_no_sense_is_refused(flags, tree, capsys):
    model = ["--model", "timm_model", "--model.arch", "test_vit"]
    assert main(["predict", "--config", "folder", "--dataset.root", str(tree), *model, *flags]) == 2
    assert flags[0].removeprefix("--model.") in capsys.readouterr().err


def test_a_board_refuses_wrong_numbers_once(capsys, tmp_path):
    argv = ["leaderboard", "--config", "segmentation", "--output", str(tmp_path), "--batch_size", "0"]
    assert main(argv) == 2
    assert "--batch_size of at least 1" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_below_the_output_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "eva_core.cli", "models"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Could not write output (No space left on device" in done.stderr


def test_a_warning_is_one_line_and_says_its_place_only_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    warning = ("two\nlines", UserWarning, "torch/x.py", 3)
    assert cli._warning(*warning) == "eva: two lines\n"
    monkeypatch.setenv("EVA_VERBOSITY", "verbose")
    assert cli._warning(*warning) == "eva: two lines (UserWarning, torch/x.py:3)\n"


SPAWNS = """
import multiprocessing, sys
from eva_core import cli
if __name__ == "__main__":
    cli._leave_the_folder_we_are_in()
    child = multiprocessing.get_context("spawn").Process(target=print, args=(1,))
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""


@pytest.mark.parametrize("how", ["as a module", "spawned"])
def test_the_folder_that_we_are_in_is_not_on_the_path(tmp_path: Path, how: str):
    """Spawned processes begin as `python -c`, and import pickle and socket from wherever they are."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("pickle", "socket") if how == "spawned" else ("numpy", "pyarrow"):
        (here / f"{name}.py").write_text("raise SystemExit('imported')")
    (tmp_path / "run.py").write_text(SPAWNS)
    words = [str(tmp_path / "run.py")] if how == "spawned" else ["-m", "eva_core.cli", "compare", "a", "b"]
    done = subprocess.run([sys.executable, *words], cwd=here, capture_output=True, text=True, timeout=120)
    assert done.returncode == (0 if how == "spawned" else 2), done.stderr
    assert "imported" not in done.stderr
