"""Exports of a run that was stopped: by step, from snapshots and checkpoints, and by the name of its folder."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from eva_core import interrupts, registry
from eva_core.cli import main
from eva_core.errors import UsageError
from eva_core.files.checked_lines import checked_line
from eva_pretrain.methods.base import Method
from eva_pretrain.run import command, export_run
from eva_pretrain.run import pretrain as training
from eva_pretrain.run.checkpoints import read_checkpoint, saved_steps, say_passed_over, step_of
from eva_pretrain.run.config import parse
from eva_pretrain.run.export_run import export_step, model_of
from eva_pretrain.run.pretrain import pretrain
from eva_vision.models.exported import exported, read_card
from tests.pretrain.run.test_pretrain import TINY

KEEPING = ["--training.checkpoint_every=2", "--training.keep_last=1", "--training.keep_every=1"]
HALF = "--training.snapshot_dtype=bfloat16"
SCHEDULE = ["--recipe.schedule_steps=8", "--recipe.schedule=constant"]


def arguments(patches: Path, output: Path, *more: str) -> list[str]:
    return [*TINY, "--folder", str(patches), "--output", str(output), *KEEPING, *SCHEDULE, *more]


@pytest.fixture(scope="module")
def stopped(patches: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps that SLURM stops after the third."""
    output, step = tmp_path_factory.mktemp("runs") / "stopped", Method.optimizer_step

    def signalled(self: Method, *args: object, **kwargs: object) -> None:
        step(self, *args, **kwargs)
        if self.global_step == 2:
            interrupts.signal.raise_signal(interrupts.signal.SIGUSR1)

    with patch.object(Method, "optimizer_step", signalled):
        assert main(["pretrain", *arguments(patches, output, HALF, "--steps=4")]) == 75
    return output


@pytest.fixture
def copied(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def test_snapshots_stay_beside_the_last_checkpoint(stopped: Path) -> None:
    assert {file.name for file in (stopped / "checkpoints").iterdir()} == {"step-3.ckpt"}
    assert {file.name for file in (stopped / "snapshots").iterdir()} == {"step-1.ckpt", "step-2.ckpt", "step-3.ckpt"}
    assert saved_steps(stopped) == [1, 2, 3]
    snapshot = read_checkpoint(stopped / "snapshots/step-2.ckpt")
    assert snapshot.keys() == {"state_dict", "global_step", "eva_progress"}
    assert {value.dtype for value in snapshot["state_dict"].values()} == {torch.bfloat16}
    assert all(name.startswith("teacher.vit.network.") for name in snapshot["state_dict"])


def test_eva_export_makes_a_model_of_a_run_that_was_stopped(copied: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["export", str(copied)]) == 0
    folder = copied / "exports/step-3"
    assert capsys.readouterr().out == f"{folder}\n"
    state = read_checkpoint(copied / "checkpoints/step-3.ckpt")["state_dict"]
    for name, value in exported(str(folder)).network.state_dict().items():
        assert torch.equal(value, state[f"teacher.vit.network.{name}"]), name
    card = json.loads((folder / "card.json").read_text())
    assert (card["step"], card["size"], card["selected_on"]) == (3, 32, "last")
    assert card["name"].endswith("-step3")
    assert not (copied / "export").exists()  # by which a run is known to be finished


def test_a_step_is_exported_once_and_from_what_there_is(copied: Path) -> None:
    folder = export_step(copied, 2)
    weights = folder / "model.safetensors"
    written = weights.stat().st_mtime_ns
    state = read_checkpoint(copied / "snapshots/step-2.ckpt")["state_dict"]
    for name, value in exported(str(folder)).network.state_dict().items():
        assert torch.equal(value, state[f"teacher.vit.network.{name}"].float()), name
    assert export_step(copied, 2) == folder
    assert weights.stat().st_mtime_ns == written
    weights.write_bytes(b"damaged")
    assert exported(str(export_step(copied, 2))).card.revision == "step 2"
    student = json.loads((export_step(copied, 3, "student") / "card.json").read_text())
    assert student["weights_of"] == "student"
    with pytest.raises(UsageError, match=r"snapshot of step 9 in .*, but it has 1, 2, 3\. Give one"):
        export_step(copied, 9)
    with pytest.raises(UsageError, match=r"of step 2 in .*, but it has 3\."):
        export_step(copied, 2, "student")  # a snapshot has the teacher alone
    with pytest.raises(UsageError, match="Expected the folder of a run"):
        export_step(copied / "checkpoints")
    with pytest.raises(UsageError, match="Expected --step as a number, last or best, but got 'nine'"):
        command.export([str(copied), "--step", "nine"])


def test_the_folder_of_a_run_is_a_model(copied: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["models", str(copied)]) == 0
    told = capsys.readouterr()
    assert "step 3" in told.out
    assert f"is a run without an export: its last step is taken, {copied / 'exports/step-3'}." in told.err
    shutil.copytree(copied / "exports/step-3", copied / "export")
    assert registry.export_in(str(copied)) == str(copied / "export")
    assert f"is a run: its export of step 3 is taken, {copied / 'export'}." in capsys.readouterr().err
    assert model_of(copied / "export") is None


def test_a_checkpoint_or_snapshot_of_a_run_is_a_model(copied: Path, capsys: pytest.CaptureFixture) -> None:
    saved = sorted([*copied.glob("checkpoints/*.ckpt"), *copied.glob("snapshots/*.ckpt")])
    assert len(saved) > 1
    for file in saved:
        assert registry.export_in(str(file)) == str(copied / f"exports/step-{step_of(file)}")
    assert main(["models", str(saved[0])]) == 0
    (copied / "checkpoints/mine.ckpt").touch()
    assert main(["models", str(copied / "checkpoints/mine.ckpt")]) == 2
    assert "mine.ckpt is not a folder" in capsys.readouterr().err


def test_the_best_step_is_taken_where_the_monitor_chose_one(copied: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copy(copied / "checkpoints/step-3.ckpt", copied / "checkpoints/best-3.ckpt")
    (copied / "monitor.jsonl").write_bytes(checked_line({"step": 3, "monitor/knn": 0.75})[0])
    folder = model_of(copied)
    assert folder == copied / "exports/step-3"
    assert "its best step is taken" in capsys.readouterr().err
    chosen = json.loads((folder / "card.json").read_text())["selected_on"]
    assert chosen == {"metric": "monitor/knn", "step": 3, "value": 0.75}
    (copied / "checkpoints/best-3.ckpt").write_bytes(b"")
    assert model_of(copied) == folder
    said = capsys.readouterr().err
    assert "best-3.ckpt is not used, because it is empty." in said
    assert "its last step is taken" in said


def test_how_a_step_was_chosen_is_on_its_card_also_where_it_was_exported_before(copied: Path) -> None:
    assert read_card(export_step(copied, 3))["selected_on"] == "step"
    shutil.copy(copied / "checkpoints/step-3.ckpt", copied / "checkpoints/best-3.ckpt")
    (copied / "monitor.jsonl").write_bytes(checked_line({"step": 3, "monitor/knn": 0.75})[0])
    assert read_card(export_step(copied, "best"))["selected_on"]["value"] == 0.75
    assert read_card(export_step(copied, 3))["selected_on"]["value"] == 0.75


def test_a_checkpoint_that_the_run_deletes_meanwhile_is_no_damage(copied: Path, capsys: pytest.CaptureFixture) -> None:
    old, new, read = copied / "checkpoints/step-3.ckpt", copied / "checkpoints/step-4.ckpt", export_run.read_checkpoint

    def pruned(file: Path, mapped: bool) -> dict[str, Any]:
        if file == old:
            old.rename(new)
            raise FileNotFoundError(old)
        return read(file, mapped)

    with patch.object(export_run, "read_checkpoint", pruned):
        assert export_step(copied).name == "step-4"
    say_passed_over(copied, old)  # one that was written a moment ago is not named as damaged
    assert "not used" not in capsys.readouterr().err


def test_a_run_that_is_given_for_its_export_is_told_apart(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no card\.json\. It is a run: `eva export .*run` makes one\."):
        read_card(copied)
    export_step(copied, output=copied / "export")
    with pytest.raises(UsageError, match=r"has no card\.json\. Give .*run/export\."):
        read_card(copied)
    with pytest.raises(UsageError, match=r"is not a folder\. Give its folder"):
        read_card(tmp_path / "nothing")


def test_more_steps_of_the_same_schedule_go_on_with_the_run(
    copied: Path, patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def steps_of(output: Path, steps: int) -> dict[str, torch.Tensor]:
        pretrain(parse(arguments(patches, output, HALF, f"--steps={steps}")))
        return read_checkpoint(output / f"checkpoints/step-{steps}.ckpt")["state_dict"]

    steps_of(copied, 4)
    assert json.loads((copied / "export/card.json").read_text())["step"] == 4
    told = capsys.readouterr().err
    assert re.search(r"A checkpoint takes \d+ kB: the last 1 stay\. A snapshot takes \d+ kB: 1 to come, ", told)
    with patch.object(training, "_export"):  # as if it were killed before its export
        steps_of(copied, 5)
    assert json.loads((copied / "export/card.json").read_text())["step"] == 4
    longer, whole = steps_of(copied, 5), steps_of(tmp_path / "whole", 5)
    assert json.loads((copied / "export/card.json").read_text())["step"] == 5
    for name, value in whole.items():
        assert torch.equal(longer[name], value), name


def test_a_run_without_a_checkpoint_is_called_so(stopped, tmp_path):
    for name in ("config.yaml", "key"):
        shutil.copy(stopped / name, tmp_path)
    for find in (lambda: model_of(tmp_path), lambda: export_step(tmp_path)):
        with pytest.raises(UsageError, match=f"^Expected a checkpoint in the run in {tmp_path}, but it has none yet"):
            find()
    with pytest.raises(UsageError, match=r"Expected a checkpoint that the monitor chose in .*, but it has 1, 2, 3"):
        export_step(stopped, "best")
