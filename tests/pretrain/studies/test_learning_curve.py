"""`eva board`: snapshots of a run as models on a task, their table and their plot."""

import json
from pathlib import Path

import pytest
import yaml

from eva_core.errors import UsageError
from eva_pretrain.run.config import parse
from eva_pretrain.run.pretrain import pretrain
from eva_pretrain.studies.learning_curve import as_markdown, main
from tests.pretrain.run.test_pretrain import TINY


def test_all_snapshots_are_scored_and_drawn(patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run, task = tmp_path / "run", tmp_path / "task.yaml"
    argv = [*TINY, "--folder", str(patches), "--output", str(run), "--steps=2", "--training.keep_every=1"]
    pretrain(parse([*argv, "--training.keep_last=1"]))
    sizes = {"train": 16, "val": 8, "test": 16, "size": 32}
    task.write_text(yaml.safe_dump({"dataset": {"class_path": "phantom", "init_args": sizes}}))
    assert main([str(run), "--tasks", str(task), "--device", "cpu", "--workers", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(run / "board/curve.png")
    curve = json.loads((run / "board/curve.json").read_text())
    (scored,) = curve["tasks"]
    assert [point["step"] for point in scored["points"]] == [1, 2]
    for point in scored["points"]:
        assert point["ci95"][0] <= point["score"] <= point["ci95"][1]
        (result,) = (run / "board/task").glob(f"step-{point['step']}-*/default/results.json")
        assert json.loads(result.read_text())["main"]["mean"] == point["score"]
    assert 0 <= scored["colour"] <= 1
    table = (run / "board/curve.md").read_text()
    assert table == as_markdown(curve)
    assert [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")] == [
        *("| step", "| 1", "| 2", "| six colour numbers")
    ]
    assert (run / "board/curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected a run of `eva pretrain` with checkpoints or snapshots"):
        main([str(tmp_path), "--tasks", "phantom"])


def test_a_step_without_a_score_says_why() -> None:
    points = [{"step": 1000, "score": None, "ci95": None, "reason": "no room"}]
    task = {"name": "bach", "metric": "balanced_accuracy", "split": "test", "colour": None, "points": points}
    table = as_markdown({"title": "Learning curve of x", "protocol": "strict", "tasks": [task]})
    assert "| 1,000 | no score |" in table
    assert "No score: no room" in table
