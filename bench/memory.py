"""Memory of a whole fit beyond that of the imports: 262,144 x 384 random embeddings to train, 32,768 to select."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import psutil

TRAIN, HELD_OUT, FEATURES = 262_144, 32_768, 384


def make_store() -> Path:
    """Write a store of random embeddings, as `eva import` does."""
    import numpy as np

    from eva_core.classification.import_kaiko import Imported, rows_of
    from eva_core.contracts.cards import DatasetCard
    from eva_core.contracts.dataset import Sample
    from eva_core.store.store import StoreKey
    from eva_core.store.writer import PartWriter, merge

    key = StoreKey("random", "random", {"classes": ["a", "b"], "dataset": "random", "weights_sha256": "0"})
    content = {**key.content, "preprocess": "none", "dataset_sha256": "0"}
    key = replace(key, content=content)
    key.path.parent.mkdir(parents=True, exist_ok=True)
    n, rng, writer = TRAIN + HELD_OUT, np.random.default_rng(0), PartWriter(key.path)
    for first in range(0, n, 16_384):
        writer.add(first, rows_of(rng.standard_normal((min(16_384, n - first), FEATURES), dtype=np.float32)))
        writer.flush()
    samples = [Sample(str(i), "train" if i < TRAIN else "val", i % 2) for i in range(n)]
    about = {"device": "none", "model": "random", "imported": True}
    merge(key.path, key, Imported(DatasetCard("random", classes=("a", "b")), samples), about)
    return key.path


def fit(store: str, output: str) -> None:
    """Fit in this process, and print the memory that it added, in GB."""
    from eva_core.api import fit_embeddings
    from eva_core.config.protocols import load_protocol

    before = psutil.Process().memory_info().rss
    protocol = replace(load_protocol("eva-0.4"), steps=1_100, runs=5)  # past an epoch, so that it evaluates
    fit_embeddings(store, protocol=protocol, output=output)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"imports_gb": round(before / 1e9, 3), "peak_added_gb": round((peak - before) / 1e9, 3)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", nargs=2, metavar=("STORE", "OUTPUT"), help="used by this script for its fresh process")
    given = parser.parse_args()
    if given.fit:
        fit(*given.fit)
    else:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["EVA_CACHE"] = folder
            argv = [sys.executable, __file__, "--fit", str(make_store()), f"{folder}/out"]
            print(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip())
