import json
from dataclasses import replace
from pathlib import Path

import pytest

from eva_core import registry
from eva_core.cli import main
from eva_core.config.jobs import job_of
from eva_core.contracts.cards import DatasetCard
from eva_core.errors import UsageError
from eva_core.task import task_named
from tests.conftest import Pictures
from tests.vision.datasets.test_hest import tree

TASK = task_named("patch_regression")


def test_heads_of_other_kinds_are_refused():
    assert TASK.takes(registry.heads.build("ridge_hest"))
    assert not TASK.takes(registry.heads.build("linear"))


def test_images_without_folds_are_refused():
    dataset = Pictures()
    dataset.card = DatasetCard("values", "patch_regression", metric="pearson")
    dataset.samples = [replace(s, target=1.0, split="cv") for s in dataset.samples]
    job = job_of("colour_stats", dataset)
    with pytest.raises(UsageError, match="Expected folds of 'values'"):
        TASK.check(job)
    dataset.samples = [replace(s, target=None) for s in dataset.samples]
    with pytest.raises(UsageError, match="Expected a value for every image, but 30 have none"):
        TASK.check(job)


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    tree(tmp_path / "hest", "hest_lung")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    out = tmp_path / "out"
    argv = ["fit", "--config", "hest_lung", "--model", "colour_stats", "--workers", "0", "--output", str(out)]
    assert main(argv) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["identity"]["protocol"] == "hest-pca256-ridge"
    assert results["task"] == "patch_regression"
    shown = capsys.readouterr().out
    assert "mean over 4 folds" in shown
    page = (out / "report.html").read_text()
    assert "The output with the best Pearson correlation" in page
    applied = ["predict", "--head", str(out), "--workers", "0", "--output", str(tmp_path / "applied")]
    assert main(applied) == 0
    assert (tmp_path / "applied/predictions.parquet").is_file()
    capsys.readouterr()
    assert main(["verify", str(out), "--heads"]) == 0
    assert "predictions follow from embeddings and heads" in capsys.readouterr().out
