"""Results of a study, written by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eva_core.boards.board import Pair, Part
from eva_core.results.record import write_results
from eva_pretrain.studies.plan import Run
from eva_pretrain.studies.study import Study, Task, Variant

TASKS = (Task("a", {}, "in_distribution"), Task("b", {}, "in_distribution"), Task("c", {}, "out_of_distribution"))
START, BASE, BETTER = Variant("start", {}, untrained=True), Variant("base", {}), Variant("better", {"recipe": {}})
STUDY = Study("s", "Which is better", "demo", "base", (START, BASE, BETTER), 3, "strict", TASKS)


def result(folder: Path, mean: float, draws: np.ndarray, kind: str = "group", groups: str | None = None) -> None:
    """Of ten groups, which are the task's own unless named."""
    folder.mkdir(parents=True)
    names = [f"{groups or folder.parent.name}{n % 10}" for n in range(40)]
    columns = {"id": [f"{n}" for n in range(40)], "split": ["test"] * 40, "group": names}
    pq.write_table(pa.table(columns), folder / "predictions.parquet")
    np.save(folder / "bootstrap.npy", draws.astype(np.float32))
    metrics = {"balanced_accuracy": {"mean": 0.25}}
    content = {
        "identity": {"dataset_sha256": "x"},
        "synthetic": False,
        "main": {"split": "test", "metric": "balanced_accuracy", "mean": mean},
        "splits": {"test": {"n": 40, "n_groups": 10 if kind == "group" else None, "interval": kind}},
        "baselines": {"colour_stats": {"splits": {"test": {"metrics": metrics}}}},
        "contamination": {"kind": "none declared"},
    }
    write_results(folder, content, ["predictions.parquet", "bootstrap.npy"])


def make_run(root: Path, variant: Variant, seed: int) -> Run:
    folder = root / "runs" / variant.slug / f"seed-{seed}"
    pairs = tuple(Pair("m", t.name, {}, "strict", (Part("default", None),), folder / "tasks" / t.name) for t in TASKS)
    return Run(variant, seed, (), folder, None, pairs, fixed=variant.untrained)
