"""results.json and what lies beside it: written atomically, read back. Free of torch: boards are read often."""

import json
import math
import platform
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.numpy import save

from eva_core.atomic_files import write_bytes, write_text
from eva_core.errors import UsageError

SCHEMA = 1
RESULTS, CONFIG, PREDICTIONS, HEADS = "results.json", "config.yaml", "predictions.parquet", "heads.safetensors"
DRAWS = "bootstrap.npy"
SCORE = "score_"
DICE = "dice"


def environment() -> dict[str, str]:
    """Versions that a number may depend on."""
    packages = ("eva-pathology", "torch", "timm", "torchvision", "torchmetrics", "numpy", "scipy", "h5py")
    return {"python": platform.python_version(), "platform": platform.platform(), **{p: version(p) for p in packages}}


def peak_rss_mb() -> float:
    """Largest memory that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Last: its presence means done."""
    write_text(folder / RESULTS, json.dumps(_without_nan(results), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A mapping that may be missing or damaged: then it is empty, and whoever needs it makes it again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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


@dataclass(frozen=True)
class Predictions:
    """The scores of one reported split.

    Attributes:
        ids: (N,).
        groups: Patient or slide of each sample, empty where unknown, (N,).
        targets: Class of each, -1 where unknown, (N,).
        scores: Class probabilities of every run, (R, N, C).
    """

    split: str
    ids: Sequence[str]
    groups: Sequence[str]
    targets: np.ndarray
    scores: np.ndarray


def predictions_table(parts: Sequence[Predictions], classes: Sequence[str], runs: Sequence[int]) -> pa.Table:
    """One row per sample and run: id, split, run, target, group, and the score of each class."""
    tables = []
    for part in parts:
        for run, table in zip(runs, part.scores, strict=True):
            targets = pa.array([None if t < 0 else int(t) for t in part.targets], pa.int64())
            columns = _identities(part, run, target=targets)
            for number, name in enumerate(classes):
                columns[f"{SCORE}{name}"] = pa.array(table[:, number], pa.float32())
            tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def read_predictions(folder: Path, split: str) -> tuple[Predictions, list[str]]:
    """The predictions of one split of a finished result, and the class names.

    Raises:
        UsageError: The file is missing or damaged, or does not have the split.
    """
    table, ids, groups, runs = _read_split(folder, split)
    names = [name for name in table.column_names if name.startswith(SCORE)]
    scores = np.stack([table[name].to_numpy().reshape(runs, -1) for name in names], axis=-1)
    targets = table["target"].slice(0, len(ids)).fill_null(-1).to_numpy()
    return Predictions(split, ids, groups, targets, scores), [n.removeprefix(SCORE) for n in names]


@dataclass(frozen=True)
class ImageDice:
    """The Dice of every image of one reported split, NaN where undefined.

    Attributes:
        ids: (N,).
        groups: Patient or slide of each image, empty where unknown, (N,).
        scores: Mean over the classes that count, of every run, (R, N).
        by_class: Dice of every class, (R, N, C).
    """

    split: str
    ids: Sequence[str]
    groups: Sequence[str]
    scores: np.ndarray
    by_class: np.ndarray


def dice_table(parts: Sequence[ImageDice], classes: Sequence[str], runs: Sequence[int]) -> pa.Table:
    """One row per image and run: id, split, run, group, Dice and the Dice of each class, null where undefined."""
    tables = []
    for part in parts:
        for run, dice, by_class in zip(runs, part.scores, part.by_class, strict=True):
            columns = {**_identities(part, run), DICE: pa.array(dice, pa.float64(), from_pandas=True)}
            for number, name in enumerate(classes):
                columns[f"{DICE}_{name}"] = pa.array(by_class[:, number], pa.float64(), from_pandas=True)
            tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def read_dice(folder: Path, split: str) -> tuple[ImageDice, list[str]]:
    """The Dice of the images of one split of a finished segmentation, and the class names.

    Raises:
        UsageError: The file is missing or damaged, or does not have the split.
    """
    table, ids, groups, runs = _read_split(folder, split)
    names = [name for name in table.column_names if name.startswith(f"{DICE}_")]
    dice, *by_class = (table[name].to_numpy().reshape(runs, -1) for name in (DICE, *names))  # a null comes as NaN
    return ImageDice(split, ids, groups, dice, np.stack(by_class, axis=-1)), [n.removeprefix(f"{DICE}_") for n in names]


def _identities(part: Predictions | ImageDice, run: int, **more: pa.Array) -> dict[str, pa.Array]:
    n = len(part.ids)
    return {
        "id": pa.array(list(part.ids), pa.string()),
        "split": pa.array([part.split] * n, pa.string()),
        "run": pa.array([run] * n, pa.int32()),
        **more,
        "group": pa.array([group or None for group in part.groups], pa.string()),
    }


def _read_split(folder: Path, split: str) -> tuple[pa.Table, list[str], list[str], int]:
    """The rows of one split; ids and groups of its samples, (N,); the number of runs."""
    path = folder / PREDICTIONS
    try:
        table = pq.read_table(path, filters=[("split", "=", split)])
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(
            f"Expected predictions in {path}, but they do not read ({error}). Run `eva fit` again."
        ) from error
    if not table.num_rows:
        there = pq.read_table(path, columns=["split"])["split"].unique().to_pylist()
        raise UsageError(f"Expected split {split!r} in {path}, but it has {', '.join(there)}.")
    runs = len(np.unique(table["run"].to_numpy()))
    first = table.slice(0, table.num_rows // runs)  # runs stand one after another, samples in the same order
    return table, first["id"].to_pylist(), [group or "" for group in first["group"].to_pylist()], runs


def write_heads(path: Path, runs: dict[int, dict[str, np.ndarray]], classes: Sequence[str]) -> None:
    """The selected parameters of every run, as `run<k>.<name>`, with the classes in the metadata."""
    arrays = {f"run{run}.{name}": value for run, params in runs.items() for name, value in params.items()}
    metadata = {"classes": json.dumps(list(classes)), "runs": json.dumps(list(runs))}
    write_bytes(path, save(arrays, metadata))


def read_heads(path: Path) -> tuple[list[str], dict[int, dict[str, np.ndarray]]]:
    """Classes, and the parameters of each run."""
    params: dict[int, dict[str, np.ndarray]] = {}
    with safe_open(path, "np") as file:
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
