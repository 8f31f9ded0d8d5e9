"""Predictions of images with patients, and a study of them as shift.json holds it."""

from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np

from eva_core.classification.predictions import Predictions
from eva_vision.shifts import decisions
from eva_vision.shifts.recording import jpeg

CLASSES = ("a", "b", "c")


def predictions(seed: int, n: int = 60, runs: int = 2, grouped: bool = True, noise: float = 0.0) -> Predictions:
    """Scores that know something of the class; with noise, those of the same model on changed images."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 3
    logits = rng.normal(0, 1, (runs, n, 3)) + 2 * np.eye(3)[targets]
    logits = logits + noise * np.random.default_rng(seed + 1).normal(0, 1, logits.shape)
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    groups = [f"p{i // 3}" if grouped else "" for i in range(n)]
    return Predictions("test", [f"i{i}" for i in range(n)], groups, targets, scores.astype(np.float32), None, CLASSES)


@cache
def study_of_example() -> dict[str, Any]:
    clean = predictions(0)
    strengths = [90.0, 50.0, 10.0]
    rows: list[dict[str, Any]] = []
    differences = []
    for strength, noise in zip(strengths, (0.1, 1.0, 8.0), strict=True):
        shifted = predictions(0, noise=noise)
        differences.append(shifted.compare(clean, "accuracy"))
        rows.append(
            {
                "change": "jpeg",
                "strength": strength,
                "pixel_difference": noise,
                "scores": decisions.scored(shifted, "accuracy"),
                "difference": asdict(differences[-1]),
                "flipped": decisions.flipped(clean, shifted),
                "cosine": {"mean": 0.5, "p5": 0.25},
            }
        )
    drops = decisions.told(differences, 1)
    for row, drop in zip(rows, drops, strict=True):
        row["drop"] = drop
    card = jpeg.card  # type: ignore[attr-defined]
    entry = {
        **{"model": "<m>", "head": "linear", "protocol": "strict", "n": 60, "n_groups": 20},
        **{"clean": decisions.scored(clean, "accuracy"), "shifts": rows},
        "holds": {"jpeg": decisions.holds_until(card, strengths, drops)},
    }
    return {
        **{"dataset": "pictures", "synthetic": True, "split": "test", "metric": "accuracy", "chance": 1 / 3},
        **{
            "unit": "images",
            "looked_at": 60,
            "looked_at_unit": "images",
            "moves_grid": False,
            "left_out": ["blur is left out"],
            "models": [entry],
            "between": [],
        },
        "changes": {"jpeg": {"label": card.label, "ordered": True, "neutral": card.neutral}},
    }
