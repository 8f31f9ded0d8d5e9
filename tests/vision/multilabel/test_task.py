import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva_core import registry
from eva_core.cli import main
from eva_core.config.jobs import job_of
from eva_core.contracts.cards import DatasetCard
from eva_core.errors import UsageError
from eva_core.results.record import RESULTS
from eva_core.task import task_named
from tests.conftest import Pictures
from tests.core.verification.conftest import resealed
from tests.vision.datasets.test_label_table import rows, tree, written

TASK = task_named("multilabel")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The images, and a finished result of their colours; not to be written to."""
    folder = tmp_path_factory.mktemp("multilabel")
    lines = [{**line, "never": 0} for line in rows(64)]
    root = written(folder / "images", lines)
    argv = ["fit", "--config", "label_table", "--dataset.root", str(root), "--model", "colour_stats", "--workers", "0"]
    assert main([*argv, "--output", str(folder / "out")]) == 0
    return root, folder / "out"


def test_a_result_has_each_label_and_says_which_has_none(fitted: tuple[Path, Path]):
    results = json.loads((fitted[1] / RESULTS).read_text())
    assert results["task"] == "multilabel"
    assert results["main"]["selected_on"] == "holdout"
    metrics = results["splits"]["test"]["metrics"]
    assert {"auprc", "auroc", "f1", "brier", "ece", "auprc/gland", "auroc/mucin"} <= metrics.keys()
    assert metrics["auprc/never"]["mean"] is None
    assert metrics["auprc"]["mean"] == pytest.approx(
        np.mean([metrics[f"auprc/{label}"]["mean"] for label in ("gland", "mucin")])
    )
    assert results["baselines"].keys() == {"prevalence", "colour_stats"}
    assert results["baselines"]["prevalence"]["splits"]["test"]["metrics"]["auroc"]["mean"] == 0.5
    assert "no image of test has 'never'" in TASK.notes(results)[0]
    page = (fitted[1] / "report.html").read_text()
    assert "Precision and recall" in page
    assert "images that have it" in page


def test_it_is_verified_and_an_edit_is_found(fitted: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    assert main(["verify", str(fitted[1])]) == 0
    assert "numbers follow from predictions.parquet to the last digit" in capsys.readouterr().out
    before = (fitted[1] / RESULTS).read_bytes()

    def change(content: dict[str, Any]) -> None:
        content["splits"]["test"]["metrics"]["brier/mucin"]["values"][0] += 1e-12

    try:
        resealed(fitted[1], change)
        assert main(["verify", str(fitted[1])]) == 1
        assert "splits.test.metrics.brier/mucin.values.0: expected" in capsys.readouterr().err
    finally:
        (fitted[1] / RESULTS).write_bytes(before)


def test_heads_are_applied_to_other_images_and_results_are_compared(
    fitted: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root, out = fitted
    new = written(tmp_path / "new", [{"path": "a.png", "gland": 1}, {"path": "b.png", "gland": ""}])
    argv = ["predict", "--head", str(out), "--dataset", "label_table", "--dataset.root", str(new), "--workers", "0"]
    assert main([*argv, "--output", str(tmp_path / "applied")]) == 0
    assert (tmp_path / "applied/predictions.parquet").is_file()
    again = ["fit", "--config", "label_table", "--dataset.root", str(root), "--model", "random_vits16"]
    again += ["--model.depth", "1", "--workers", "0", "--protocol.geometry", "{resize: 16, crop: 16}"]
    assert main([*again, "--output", str(tmp_path / "other")]) == 0
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "other"), "--heads"]) == 0
    assert "predictions follow from embeddings and heads" in capsys.readouterr().out
    assert main(["compare", str(out), str(tmp_path / "other"), "--metric", "brier"]) == 0
    assert "brier" in capsys.readouterr().out


def labelled(targets: list[Any], names: tuple[str, ...] = ("a", "b")) -> Any:
    """A job on thirty pictures: twenty of train, ten of test."""
    dataset = Pictures()
    dataset.card = DatasetCard("labels", "multilabel", names, metric="auprc")
    dataset.samples = [
        replace(s, target=targets[n % len(targets)], split="train" if n < 20 else "test")
        for n, s in enumerate(dataset.samples)
    ]
    return job_of("colour_stats", dataset)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([(0.0, 2.0)], "Expected labels from 0 to 1, or NaN where not annotated, but 'b' of .* is 2"),
        ([(0.0, -1.0)], "'b' of .* is -1"),
        ([(0.0,)], "Expected 2 numbers as the labels of"),
        ([("x", "y")], "Expected 2 numbers as the labels of"),
        ([0], "Expected 2 numbers as the labels of"),
    ],
)
def test_labels_that_are_none_are_refused(targets: list[Any], said: str):
    with pytest.raises(UsageError, match=said):
        TASK.check_targets(labelled(targets).dataset)


@pytest.mark.parametrize(
    ("targets", "names", "said"),
    [
        ([None], ("a", "b"), "Expected a label for every image, but 30 have none"),
        ([(0.0, np.nan), (1.0, np.nan)], ("a", "b"), "annotated with each label, but none is with 'b'"),
        ([(1.0, 0.0)], ("a", "b"), "Expected a label in train of 'labels' that some images have and others have not"),
        ([(1.0, 0.0), (0.0, 1.0)], ("a", "A"), "class names that differ"),
    ],
)
def test_labels_that_teach_nothing_are_refused(targets: list[Any], names: tuple[str, ...], said: str):
    with pytest.raises(UsageError, match=said):
        TASK.check(labelled(targets, names))


def test_heads_of_other_kinds_are_refused(tmp_path: Path):
    assert TASK.takes(registry.heads.build("logreg_labels"))
    assert not TASK.takes(registry.heads.build("logreg"))
    root = tree(tmp_path)
    argv = ["fit", "--config", "label_table", "--dataset.root", str(root), "--model", "colour_stats"]
    assert main([*argv, "--head", "logreg"]) == 2
