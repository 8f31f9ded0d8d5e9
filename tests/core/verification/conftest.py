"""A small finished result, and copies of it to edit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva_core.classification.metric_names import NAMES, metrics_of
from eva_core.classification.predictions import Predictions, predictions_table
from eva_core.evaluation.splits import Plan, summary
from eva_core.files.sealed_records import FILES, SEAL, vouch, write_record
from eva_core.results import record

CLASSES = ("benign", "tumour")
NOTHING = np.array([], np.int64)
Change = Callable[[dict[str, Any]], None]


def part(split: str, n: int = 24) -> Predictions:
    """Scores of two runs, (2, N, 2), of patients with two images each."""
    rng = np.random.default_rng(n)
    targets = np.arange(n) % 2
    odds = (rng.normal(0, 1.5, (2, n)) + 2 * targets - 1).astype(np.float32)
    ranking = np.stack([-odds, odds], -1)
    scores = (1 / (1 + np.exp(-ranking.astype(float)))).astype(np.float32)
    groups = [f"patient{i // 2}" for i in range(n)]
    return Predictions(split, [f"image{i}.png" for i in range(n)], groups, targets, scores, ranking, CLASSES)


def write_result(folder: Path) -> Path:
    """A finished classification as `eva fit` leaves it, but for what extraction and training add."""
    folder.mkdir()
    parts = [part("test")]
    made = {p.split: p.record(NAMES) for p in parts}
    splits = {split: record for split, (record, _) in made.items()}
    plan = Plan(NOTHING, NOTHING, tuple(splits), "test", "val", "val")
    identity = {"model": "m", "weights_sha256": "1" * 64, "preprocess_sha256": "2" * 64, "dataset": "d"}
    identity |= {"dataset_sha256": "3" * 64, "head": "linear", "protocol": "eva-0.4"}
    results = {
        "key": "4" * 64,
        "task": "classification",
        "identity": identity,
        **summary(plan, splits, "balanced_accuracy", metrics_of(2)["balanced_accuracy"]),
        "environment": record.environment(),
        "cost": {"embed_s": 1.25},
    }
    record.write_config(folder, "model: m\ndataset: d\n")
    record.write_predictions(folder, predictions_table(parts, CLASSES, [0, 1]))
    heads = {run: {"weight": np.arange(8, dtype=np.float32).reshape(2, 4)} for run in (0, 1)}
    record.write_heads(folder / record.HEADS, heads, CLASSES)
    record.write_draws(folder, made["test"][1].draws["balanced_accuracy"])
    record.write_results(folder, results, record.RESULT_FILES)
    return folder


@pytest.fixture(scope="session")
def made_result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; not to be written to."""
    return write_result(tmp_path_factory.mktemp("verified") / "result")


@pytest.fixture
def result(made_result: Path, tmp_path: Path) -> Path:
    """A copy to edit."""
    return Path(shutil.copytree(made_result, tmp_path / "result"))


def resealed(folder: Path, change: Change | None = None) -> None:
    """Change results.json as somebody does who knows how: digests and seal are those of what is there then."""
    content = json.loads((folder / record.RESULTS).read_text())
    if change is not None:
        change(content)
    content[FILES] = vouch(folder, content[FILES])
    content.pop(SEAL)
    write_record(folder / record.RESULTS, content)
