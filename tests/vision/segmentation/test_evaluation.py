import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva_core import fit
from eva_core.config.jobs import job_of
from eva_core.curves.curve import Plan, curve
from eva_core.results.record import read_heads
from eva_vision.segmentation import evaluation
from tests.vision.segmentation.test_task import NAMES, fitted, images
from tests.vision.segmentation.tiny import (
    HOW,
    Pixels,
    protocol,
)

HOME = Path(__file__).parents[3]
KILLED = """
import os, signal, sys
from pathlib import Path
from eva_vision.segmentation import evaluation
from tests.vision.segmentation.test_task import fitted
train = evaluation._train
def dying(*arguments):
    if arguments[3] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return train(*arguments)
evaluation._train = dying
fitted(Path(sys.argv[1]), runs=3)
"""
"""Not a fork of the tests: torch cannot train there once it has trained here with threads."""


def test_a_kill_between_runs_costs_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = fitted(tmp_path / "whole", runs=3)
    train, ran = evaluation._train, []

    def watched(*arguments: Any) -> Any:
        ran.append(arguments[3])
        return train(*arguments)

    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "killed")], cwd=HOME)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "killed").glob("[!.]*")] == ["run0.safetensors"]
    monkeypatch.setattr(evaluation, "_train", watched)
    resumed = fitted(tmp_path / "killed", runs=3)
    assert ran == [1, 2]
    assert resumed["splits"] == whole["splits"]
    assert resumed["selected"] == whole["selected"]
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == NAMES
    (tmp_path / "killed" / "run0.safetensors").write_bytes(b"left by a kill once the result was written")
    fitted(tmp_path / "killed", runs=3)
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == NAMES


@pytest.mark.usefixtures("undrawn")
def test_finished_runs_of_another_question_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train, ran = evaluation._train, []

    def stopped(*arguments: Any) -> Any:
        ran.append(arguments[3])
        if ran == [0, 1]:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(evaluation, "_train", stopped)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path)
    fitted(tmp_path, steps=20)
    assert ran == [0, 1, 0, 1]


@pytest.mark.usefixtures("undrawn")
def test_a_run_alone_is_the_run_among_others(tmp_path: Path):
    dataset, recipe = images(), replace(protocol("eva-0.4-offline", augment=("flips",)), runs=3)
    together = fit(Pixels(), dataset, "linear_seg", recipe, tmp_path / "all", HOW)
    alone = fit(Pixels(), dataset, "linear_seg", replace(recipe, runs=1, seed=2), tmp_path / "one", HOW)
    (_, all_of_them), (_, one) = (read_heads(tmp_path / name / "heads.safetensors") for name in ("all", "one"))
    assert all(np.array_equal(all_of_them[2][name], one[0][name]) for name in one[0])
    assert together["splits"]["test"]["metrics"]["dice"]["values"][2] == alone["main"]["mean"]
    assert any(not np.array_equal(all_of_them[0][name], one[0][name]) for name in one[0])


@pytest.mark.usefixtures("undrawn")
def test_the_backbone_in_the_loop_learns_what_stored_maps_teach(tmp_path: Path):
    backbone = Pixels()
    stored = fitted(tmp_path / "stored", backbone)
    before = backbone.seen
    recipe = protocol(lr=0.3)
    online = fit(backbone, images(), protocol=recipe, output=tmp_path / "online", how=replace(HOW, online=True))
    assert (stored["features"], online["features"]) == ("stored", "online")
    assert backbone.seen > before + 2 * 30 * 4  # in every step of every run
    assert online["main"]["mean"] == pytest.approx(stored["main"]["mean"], abs=0.02)
    assert online["identity"]["protocol"] == stored["identity"]["protocol"]
    assert online["key"] != stored["key"]


@pytest.mark.usefixtures("undrawn")
def test_fewer_steps_than_an_epoch(tmp_path: Path):
    results = fitted(tmp_path, steps=1, batch_size=2)
    assert [run["step"] for run in results["selected"]] == [1, 1]


@pytest.mark.usefixtures("undrawn")
def test_little_memory_is_enough(tmp_path: Path):
    recipe = protocol(lr=0.3)
    results = fit(Pixels(), images(), protocol=recipe, output=tmp_path, how=replace(HOW, memory_gb=1e-5))
    assert results["main"]["mean"] > 0.95


@pytest.mark.usefixtures("undrawn")
def test_masks_make_a_curve_of_label_efficiency(tmp_path: Path):
    job = job_of(Pixels(), images(), None, protocol(runs=1, steps=5), HOW)
    content = curve([job], Plan((0.5, 1.0), 1, tmp_path / "curve"), lambda _: None)
    whole = fit(Pixels(), images(), protocol=protocol(runs=1, steps=5), output=tmp_path / "whole", how=HOW)
    assert content["metric"] == "dice"
    assert [facts["n"] for facts in content["shares"]] == [[6], [12]]
    assert content["models"][0]["points"][1]["mean"] == whole["main"]["mean"]
    assert content["models"][0]["points"][0]["mean"] is not None
    assert not list((tmp_path / "curve").rglob("run*.safetensors"))  # kept for a restart alone
