"""A store that was not extracted: as many rows as wanted, at once."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from eva_core.classification.metrics import keys
from eva_core.classification.predictions import Predictions, predictions_table
from eva_core.cli import main
from eva_core.files.cache import cache_root
from eva_core.identity import digest
from eva_core.results import record
from eva_core.store import hdf5_files
from eva_core.store.store import SCHEMA, Store


def write_store(path: Path, n: int, dim: int = 8, classes: int = 3, ids: str = "row {}", **attributes: Any) -> Store:
    """Rows `row 0`, ... around the centre of their class; the first two thirds are of train, the rest of test."""
    rng = np.random.default_rng(0)
    targets = np.arange(n) % classes
    centres = np.eye(classes, dim, dtype=np.float32) * 4
    grey = rng.uniform(80, 160, (n, 1024)).astype(np.float16)
    columns = {
        "embeddings": centres[targets] + rng.standard_normal((n, dim), np.float32),
        "colour_stats": np.tile(np.array([200, 100, 150, 10, 10, 10], np.float32) / 255, (n, 1)),
        "signature": grey,
        "short_side": np.full(n, 224, np.int64),
        "readable": np.ones(n, bool),
        "targets": targets.astype(np.int64),
    }
    texts = {
        "ids": [ids.format(i) for i in range(n)],
        "groups": [f"patient {i // 10}" for i in range(n)],
        "sites": ["", "east", "west"][1:] * (n // 2) + [""] * (n % 2),
        "split": ["train" if i < 2 * n // 3 else "test" for i in range(n)],
    }
    arrays = {name: hdf5_files.column(np.array(values)) for name, values in {**columns, **texts}.items()}
    facts = {"schema": SCHEMA, "n": n, "device": "cpu", "identity": "{}", **attributes}
    hdf5_files.write(path, arrays, facts)
    return Store(path)


def fitted(tree: Path, output: Path) -> Path:
    """The folder of a finished result of colours on a tree, made by the command."""
    output.parent.mkdir(exist_ok=True)
    protocol = output.parent / "quick.yaml"
    protocol.write_text("name: quick\nsteps: 20\nruns: 2\nlr: [0.05]\n")
    flags = ["--model", "colour_stats", "--protocol", str(protocol), "--device", "cpu", "--workers", "0"]
    assert main(["fit", "--dataset", "folder", "--dataset.root", str(tree), *flags, "--output", str(output)]) == 0
    return output


def made_up_result(
    folder: Path, n: int, names: tuple[str, ...] = ("a", "b", "c"), dim: int = 8, ids: str = "row {}", **changes: Any
) -> Path:
    """A finished classification of `n` images with its store in the cache; no image was ever there.

    Args:
        folder: Where it is to be.
        n: Number of images.
        names: Names of the classes.
        dim: Length of the embeddings.
        ids: What an id looks like, with a place for its number.
        changes: Fields of results.json that are otherwise.
    """
    content = {"weights_sha256": "1" * 64, "dataset_sha256": "2" * 64, "preprocess": {"resize": 224}}
    cache = cache_root() / "made_up"
    cache.mkdir(parents=True)
    store = write_store(cache / "m-1.h5", n, dim, len(names), ids, identity=json.dumps(content))
    rows = store.rows("test")
    rng = np.random.default_rng(1)
    odds = rng.standard_normal((2, len(rows), len(names))) + 2 * np.eye(len(names))[store.targets[rows]]
    scores = (np.exp(odds) / np.exp(odds).sum(-1, keepdims=True)).astype(np.float32)
    part = Predictions(
        "test", store.ids[rows], store.groups[rows], store.targets[rows], scores, odds.astype(np.float32)
    )
    folder.mkdir(parents=True)
    record.write_predictions(folder, predictions_table([part], names, range(2)))
    record.write_config(folder, "# Made from Python\n")
    value = {"mean": 0.7, "std": 0.01, "ci95": [0.6, 0.8], "values": [0.7, 0.7], "last": 0.7}
    metrics = dict.fromkeys(keys(names), value)
    split = {"n": len(rows), "n_groups": 9, "interval": "by group", "metrics": metrics}
    results = {
        "key": "k",
        "task": "classification",
        "identity": {
            "model": "m",
            "weights_sha256": content["weights_sha256"],
            "preprocess_sha256": digest(content["preprocess"]),
            "dataset": "made_up",
            "dataset_sha256": content["dataset_sha256"],
            "head": "linear",
            "protocol": "eva-0.4",
        },
        "settings": {},
        "weights": {},
        "synthetic": True,
        "card": {},
        "main": {"split": "test", "metric": "balanced_accuracy", "higher_is_better": True, "bounds": [0, 1],
                 "chance": 1 / len(names), "mean": 0.7, "std": 0.01, "ci95": [0.6, 0.8], "selected_on": "val"},
        "selection": "val",
        "splits": {"test": split},
        "baselines": {"colour_stats": {"splits": {"test": split}}},
        "contamination": {"kind": "exact", "n_seen": 3, "unseen": {"n": 5, **value}},
        "confounds": {"robustness_index": 0.4, "k": 5, "class_accuracy": 0.7, "site_accuracy": 0.9, "sites": 2},
        "mpp": {"native": 0.25, "reached": 0.5},
        "selected": [{"run": r, "value": 0.7, "step": 10, "lr": 0.0003} for r in range(2)],
        "refit": None,
        "skipped": [],
        "untrained": {},
        "copies": {"test": 2},
        "turned_copies": None,
        "report": {},
        "cost": {"embed_s": 9.0, "images_per_s": 30.0, "fit_s": 3.0, "peak_rss_mb": 900.0},
        "environment": {"device": "cpu", "torch": "2"},
    }  # fmt: skip
    record.write_results(folder, {**results, **changes}, [record.CONFIG, record.PREDICTIONS])
    return folder
