"""Embeddings whose class, site and slide pull them to planted centres."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from eva_vision.robustness.schema import ModelRecord, Robustness, Value
from eva_vision.robustness.tables import LABELS
from eva_vision.robustness.typed_neighbours import Labels


def planted(
    seed: int = 0, n: int = 600, classes: int = 3, sites: int = 3, slides: int = 4, dim: int = 24, pull: float = 1.0
) -> tuple[np.ndarray, Labels]:
    """Embeddings (N, D) and labels: `slides` slides of each class at each site, which pull by half as much."""
    rng = np.random.default_rng(seed)
    slide = np.arange(n) % (classes * sites * slides)
    label, site = slide % classes, slide // classes % sites
    centres = [rng.normal(size=(size, dim)) for size in (classes, sites, classes * sites * slides)]
    x = rng.normal(size=dim) + centres[0][label] + pull * centres[1][site] + centres[2][slide] / 2
    return (x + rng.normal(size=(n, dim))).astype(np.float32), Labels(label, site, slide)


def manifest(labels: Labels) -> pd.DataFrame:
    """The labels as croma takes them; classes are numbered by first appearance there, and here in ascending order."""
    n = len(labels.classes)
    ids = [str(i) for i in range(n)]
    columns = {"label": labels.classes, "center": labels.sites, "group_id": labels.groups}
    return pd.DataFrame({"sample_id": ids, "image_path": ids, **{k: v.astype(str) for k, v in columns.items()}})


def content() -> Robustness:
    """What robustness.json holds of one model."""
    value: Value = {"value": 0.75, "ci95": [0.5, 0.9]}
    record: ModelRecord = {
        **{"model": "my[model]", "weights_sha256": "0" * 64, "preprocess": "strict", "dim": 6, "k": 5, "tau": 0.1},
        **{"support": 0.5, "class_accuracy": 0.9, "site_accuracy": 0.6},
        "values": {name: value for name in LABELS} | {"croma": {"value": None, "ci95": None}},
        "published": [
            {"metric": "robustness_index", "value": 0.7, "protocol": "pathorob", "ours": "pathorob", "delta": 0.05}
        ],
        "notes": ["few neighbours"],
        "drops": {
            **{"resamplings": 20, "published_sets": True, "v": [0.0, 1.0], "accuracy": {"in": [0.9, 0.7]}},
            "values": {"apd_in": {"value": -0.222, "ci95": [-0.3, -0.1]}, "nipd_in": {"value": None, "ci95": None}},
        },
        "left_out": {
            **{"head": "knn", "protocol": "strict", "metric": "balanced_accuracy", "mean": 0.8, "worst": "A"},
            "spread": 0.0,
            "sites": {
                "A": {"n": 20, "n_groups": 4, "value": 0.8, "ci95": [0.7, 0.9], "reason": ""},
                "<b>": {"n": 20, "n_groups": 4, "value": None, "ci95": None, "reason": "too few classes"},
            },
        },
    }
    sites = {"A": {"a": 10, "b": 10}, "<b>": {"a": 10, "b": 10}}
    return {
        **{"schema": 1, "dataset": "toy", "synthetic": True, "n": 40, "n_groups": 8, "parts": 1, "interval": "group"},
        **{"sites": sites, "models": [record], "notes": ["all: no groups"]},
    }


def stored(x: np.ndarray, labels: Labels) -> SimpleNamespace:
    """A store of embeddings with these labels, all in train."""
    n = len(x)
    columns = {
        "ids": np.array([str(i) for i in range(n)]),
        "groups": np.array([f"s{group}" for group in labels.groups]),
        "sites": np.array(["A", "B", "C", "D"])[labels.sites],
        "splits": np.full(n, "train"),
        "targets": labels.classes.astype(np.int64),
        "readable": np.ones(n, bool),
    }
    return SimpleNamespace(**columns, path="x.h5", read=lambda rows: x[rows])
