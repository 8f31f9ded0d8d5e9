"""results.json and what lies beside it: built here, written atomically, read back."""

import json
import math
import os
import platform
import resource
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from eva_core.errors import UsageError
from eva_core.metrics import evaluate
from eva_core.stats import interval
from eva_core.types import FittedRun

SCHEMA = 1
RESULTS, CONFIG, PREDICTIONS, HEADS = "results.json", "config.yaml", "predictions.parquet", "heads.safetensors"


def split_record(
    selected: np.ndarray,
    last: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    groups: Sequence[str | None] | None,
) -> dict[str, Any]:
    """What results.json says of one split.

    Args:
        selected: Scores of the selected heads, (R, N, C), rows sum to one.
        last: Scores of the heads after their last step, (R, N, C).
        targets: (N,).
        groups: Patient or slide of each sample; None where nothing is known.
    """
    truth = torch.from_numpy(targets)
    values, at_last = ([evaluate(torch.from_numpy(s), truth, classes) for s in runs] for runs in (selected, last))
    intervals = interval(selected, targets, classes, groups)
    metrics = {
        name: {
            **_summary([v[name] for v in values]),
            "ci95": intervals.ci95[name],
            **({"t95": intervals.t95[name]} if intervals.t95 else {}),
            "values": [v[name] for v in values],
            "last": _mean([v[name] for v in at_last]),
        }
        for name in values[0]
    }
    return {
        "n": len(targets),
        "n_groups": intervals.n_groups if groups is not None else None,
        "interval": intervals.kind,
        "metrics": metrics,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _summary(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean, and the standard deviation over runs: null for a single run."""
    known = [v for v in values if v is not None]
    return {"mean": _mean(values), "std": float(np.std(known, ddof=1)) if len(known) > 1 else None}


def environment() -> dict[str, str]:
    """Versions that a number may depend on."""
    packages = ("eva-pathology", "torch", "timm", "torchvision", "torchmetrics", "numpy", "scipy", "h5py")
    return {"python": platform.python_version(), "platform": platform.platform(), **{p: version(p) for p in packages}}


def peak_rss_mb() -> float:
    """Largest memory that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Last and atomically: its presence means done."""
    temporary = folder / f"{RESULTS}.tmp"
    with temporary.open("w", encoding="utf-8") as handle:
        json.dump(_without_nan(results), handle, indent=2, allow_nan=False)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(folder / RESULTS)


def read_results(folder: Path) -> dict[str, Any]:
    """The results of a finished fit.

    Raises:
        UsageError: There are none in this folder.
    """
    try:
        return json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"Expected a finished result in {folder}, but it has no {RESULTS}. Run `eva fit` first."
        ) from error
    except json.JSONDecodeError as error:
        raise UsageError(f"Expected JSON in {folder / RESULTS}, but it does not parse: {error}.") from error


def write_predictions(
    path: Path,
    parts: Sequence[tuple[str, Sequence[str], np.ndarray, np.ndarray]],
    classes: Sequence[str],
    runs: Sequence[int],
) -> None:
    """One row per sample and run: id, split, run, target, and the score of each class.

    Args:
        parts: (split, ids (N,), targets (N,) with -1 for unknown, scores (R, N, C)) for each split.
    """
    tables = []
    for split, ids, targets, scores in parts:
        for run, table in zip(runs, scores, strict=True):
            columns: dict[str, Any] = {
                "id": pa.array(list(ids), pa.string()),
                "split": pa.array([split] * len(table), pa.string()),
                "run": pa.array([run] * len(table), pa.int32()),
                "target": pa.array([None if t < 0 else int(t) for t in targets], pa.int64()),
            }
            for number, name in enumerate(classes):
                columns[f"score_{name}"] = pa.array(table[:, number], pa.float32())
            tables.append(pa.table(columns))
    pq.write_table(pa.concat_tables(tables), path)


def write_heads(path: Path, runs: Sequence[FittedRun], classes: Sequence[str]) -> None:
    """The selected parameters of every run, as `run<k>.<name>`, with the classes in the metadata."""
    tensors = {f"run{r.run}.{name}": value.contiguous() for r in runs for name, value in r.params.items()}
    save_file(tensors, path, {"classes": json.dumps(list(classes)), "runs": json.dumps([r.run for r in runs])})


def read_heads(path: Path) -> tuple[list[str], dict[int, dict[str, Tensor]]]:
    """Classes, and the parameters of each run."""
    params: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, "pt") as file:
        classes = json.loads(file.metadata()["classes"])
        for key in file.keys():  # noqa: SIM118  (not a dict)
            run, _, name = key.partition(".")
            params.setdefault(int(run.removeprefix("run")), {})[name] = file.get_tensor(key)
    return classes, dict(sorted(params.items()))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
