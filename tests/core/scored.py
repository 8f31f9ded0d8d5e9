"""Scores of made-up models, and finished results that hold them."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from eva_core.classification.predictions import Predictions, predictions_table
from eva_core.results.record import PREDICTIONS, write_results
from eva_vision.segmentation.scoring.predictions import ImageDice, dice_table

CLASSES = ["a", "b", "c"]


def model(right: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Right or wrong (R, N) -> scores (R, N, 3)."""
    guesses = np.where(right, targets, (targets + 1) % 3)
    return np.eye(3, dtype=np.float32)[guesses] * 0.7 + 0.1


def drawn(p: float, runs: int, seed: int, n: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).random((runs, n)) < p


def dice(seed: int, shift: float = 0.0, runs: int = 2, n: int = 40, undefined: float = 0.2) -> np.ndarray:
    """Scores of images (R, N), some undefined in some runs."""
    rng = np.random.default_rng(seed)
    scores = np.clip(rng.normal(0.6 + shift, 0.2, (runs, n)), 0, 1)
    scores[rng.random(scores.shape) < undefined] = np.nan
    return scores


def mean_of_runs(scores: np.ndarray) -> float:
    return float(np.nanmean(scores, axis=1).mean())


def result(folder: Path, model: str, metric: str, sha256: str = "0", dataset: str = "nuclei") -> None:
    identity = {"model": model, "head": "h", "protocol": "p", "dataset": dataset, "dataset_sha256": sha256}
    task = "segmentation" if metric.startswith(("dice", "iou")) else "classification"
    content = {"task": task, "identity": identity, "main": {"metric": metric, "split": "test"}}
    write_results(folder, content, [PREDICTIONS])


def segmentation(folder: Path, scores: np.ndarray, model: str, metric: str = "dice", **identity: str) -> Path:
    """A finished result with the Dice of images in groups of five."""
    folder.mkdir()
    ids = [f"image{i}" for i in range(scores.shape[1])]
    groups = [f"patient{i // 5}" for i in range(len(ids))]
    by_class = np.stack([scores, np.full_like(scores, np.nan)], axis=-1)
    parts = [ImageDice(split, ids, groups, scores, by_class) for split in ("val", "test")]
    pq.write_table(dice_table(parts, ["b", "a_b"], range(len(scores))), folder / PREDICTIONS)
    result(folder, model, metric, **identity)
    return folder


def classification(folder: Path) -> Path:
    folder.mkdir()
    part = Predictions("test", ["image0"], [""], np.zeros(1, int), np.full((1, 1, 2), 0.5))
    pq.write_table(predictions_table([part], ["a", "b"], [0]), folder / PREDICTIONS)
    result(folder, "m", "accuracy")
    return folder


def classified(folder: Path, odds: np.ndarray, targets: np.ndarray, name: str) -> Path:
    """A finished result of two classes, five images a patient, by the log-odds of the second, (R, N)."""
    folder.mkdir()
    ids = [f"image{i}" for i in range(len(targets))]
    both = np.stack([-odds, odds], -1)
    scores = (1 / (1 + np.exp(-both))).astype(np.float32)
    part = Predictions("test", ids, [f"patient{i // 5}" for i in range(len(ids))], targets, scores, both)
    pq.write_table(predictions_table([part], ["a", "b"], range(len(odds))), folder / PREDICTIONS)
    result(folder, name, "auroc", dataset="scans")
    return folder
