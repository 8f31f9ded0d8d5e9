"""One run of a study: a process of its own, which other studies wait for."""

import json
import subprocess
import sys

import pytest

from eva_core.cli import main
from eva_core.files.cache import locked
from eva_pretrain.studies import runner
from eva_pretrain.studies.plan import plan_runs
from eva_pretrain.studies.runner import do_run
from eva_pretrain.studies.study import read_study
from tests.pretrain.studies.conftest import TINY


def study(file, output, *more: str) -> int:
    return main(["study", "--config", str(file), *TINY, "--output", str(output), "--seeds", "2", "--few_seeds", *more])


def test_a_cost_that_is_not_known_stops_no_scoring(study_file, patches, tmp_path, trained, monkeypatch, capsys):
    def gone(plan):
        raise FileNotFoundError("no checkpoint")

    monkeypatch.setattr(runner, "training_cost", gone)
    file = study_file(variants={"short": {}})
    assert study(file, tmp_path / "out", "--folder", str(patches), "--seeds", "1") == 0
    assert "what it has cost is not known (FileNotFoundError: no checkpoint)" in capsys.readouterr().err
    record = json.loads((tmp_path / "out/study.json").read_text())
    assert record["variants"][0]["in_distribution"]["seeds"] == [0]


@pytest.mark.slow
def test_training_is_a_process_of_its_own(study_file, patches, tmp_path):
    chosen = read_study(str(study_file(variants={"a": {}, "bad": {"vit": {"start": "/nowhere/x.pth"}}})))
    good, bad, *_ = plan_runs(chosen, [*TINY[2:], "--folder", str(patches)], tmp_path / "out")
    assert do_run(good, threads=1) is None
    assert good.done
    assert "step      2 of 2" in (good.folder / runner.LOG).read_text()
    reason = do_run(bad)
    assert reason == bad.failure == "Expected a file of weights, but /nowhere/x.pth does not exist."


def test_a_training_that_outlives_its_study_is_waited_for(tmp_path, capsys):
    code = "import os, subprocess, sys; from pathlib import Path; from eva_core.files.cache import locked\n"
    code += f"with locked(Path({str(tmp_path / '.run')!r})) as lock:\n"
    code += "    training = [sys.executable, '-c', 'import time; time.sleep(1)']\n"
    code += "    subprocess.Popen(training, pass_fds=[lock]); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code])
    with locked(tmp_path / ".run", what="the run"):  # the study is gone; its training is not
        assert "Waiting for another process that writes the run." in capsys.readouterr().err
