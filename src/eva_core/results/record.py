"""results.json and what lies beside it: written durably, read back where it is whole. Free of torch: boards read it."""

import io
import json
import math
import platform
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load, save
from scipy.special import logit

from eva_core.errors import EvaError, UsageError
from eva_core.files.addresses import free_of_secrets
from eva_core.files.atomic_files import make_folder, write_bytes, write_text
from eva_core.files.checksums import Damaged, Verified
from eva_core.files.sealed_records import FILES, check_files, read_file, read_record, vouch, write_record
from eva_core.progress import say
from eva_core.store.cache import locked

SCHEMA = 2
RESULTS, CONFIG, PREDICTIONS, HEADS = "results.json", "config.yaml", "predictions.parquet", "heads.safetensors"
DRAWS = "bootstrap.npy"
RESULT_FILES = (CONFIG, PREDICTIONS, HEADS, DRAWS)
SCORE = "score_"
LOG_ODDS = "log_odds_"
AGAIN = "Run `eva fit` or `eva leaderboard` again: it makes the result anew."
DICE = "dice"


def environment() -> dict[str, str]:
    """Versions that a number may depend on."""
    packages = ("eva-pathology", "torch", "timm", "torchvision", "torchmetrics", "numpy", "scipy", "h5py")
    return {"python": platform.python_version(), "platform": platform.platform(), **{p: version(p) for p in packages}}


def peak_rss_mb() -> float:
    """Largest memory that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


@contextmanager
def claimed(folder: Path, tell: Callable[[str], None] = say) -> Iterator[None]:
    """Hold the folder of a result, which is made, for this process: a second one waits, and finds the result."""
    make_folder(folder)
    with locked(folder / ".result", tell, str(folder)):
        yield


def write_results(folder: Path, results: dict[str, Any], files: Iterable[str] = ()) -> None:
    """Write results.json: last, as its presence means done.

    Args:
        files: What it vouches for, by name below the folder; on disk already.
    """
    write_record(
        folder / RESULTS, {"schema": SCHEMA, **free_of_secrets(_without_nan(results)), FILES: vouch(folder, files)}
    )


def set_aside(folder: Path) -> None:
    """Keep a results.json that is not whole under another name, before another one is made."""
    path = folder / RESULTS
    if path.exists():
        path.replace(path.with_name(f"{RESULTS}.old"))


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
        Damaged: They are not as they were written, or another version or program wrote them.
        EvaError: They could not be read.
    """
    try:
        found = read_record(folder / RESULTS)
    except FileNotFoundError as error:
        raise UsageError(
            f"Expected a finished result in {folder}, but it has no {RESULTS}. Run `eva fit` first."
        ) from error
    except Damaged as error:
        raise Damaged(f"{error} {AGAIN}") from error
    if found.get("schema") != SCHEMA:
        raise Damaged(f"{folder / RESULTS} is of another version of eva (schema {found.get('schema')!r}). {AGAIN}")
    return found


def read_whole_result(folder: Path, notes: Verified | None = None) -> dict[str, Any]:
    """The results of a finished fit of which every file is there, as it was written.

    Args:
        notes: Of files that were found whole before: those are not read again.
    Raises:
        UsageError: There are none in this folder.
        Damaged: Names the first file that is missing or not as it was written.
        EvaError: One could not be read.
    """
    found = read_results(folder)
    try:
        check_files(folder, found, notes)
    except Damaged as error:
        raise Damaged(f"{error} {AGAIN}") from error
    return found


def is_whole(folder: Path, notes: Verified | None = None) -> bool:
    """Whether a folder has a finished result of which every file is there, as it was written."""
    try:
        read_whole_result(folder, notes)
    except EvaError:
        return False
    return True


def read_result_file(folder: Path, name: str, results: dict[str, Any] | None = None) -> bytes:
    """The content of a file of a finished result, as it was written.

    Args:
        results: Of `read_results`; read unless given.
    Raises:
        UsageError: There is no result in this folder.
        Damaged: The file is missing, or not as it was written.
        EvaError: It could not be read.
    """
    results = results or read_results(folder)
    try:
        return read_file(folder, name, results)
    except Damaged as error:
        raise Damaged(f"{error} {AGAIN}") from error


def read_draws(folder: Path, results: dict[str, Any] | None = None) -> np.ndarray:
    """Bootstrap values of the main metric of a finished result, (draws,).

    Raises:
        Damaged: They are missing, or not as they were written.
    """
    return np.load(io.BytesIO(read_result_file(folder, DRAWS, results)), allow_pickle=False)


def write_config(folder: Path, text: str) -> None:
    """Write the resolved configuration, as YAML."""
    write_text(folder / CONFIG, text)


def write_draws(folder: Path, draws: np.ndarray) -> None:
    """Write bootstrap values, (draws,)."""
    content = io.BytesIO()
    np.save(content, draws.astype(np.float32))
    write_bytes(folder / DRAWS, content.getvalue())


def write_predictions(folder: Path, table: pa.Table) -> None:
    """Write the rows of predictions.parquet."""
    content = pa.BufferOutputStream()
    pq.write_table(table, content)
    write_bytes(folder / PREDICTIONS, content.getvalue().to_pybytes())


@dataclass(frozen=True)
class Predictions:
    """The scores of one reported split.

    Attributes:
        ids: (N,).
        groups: Patient or slide of each sample, empty where unknown, (N,).
        targets: Class of each, -1 where unknown, (N,).
        scores: Class probabilities of every run, (R, N, C).
        log_odds: Of each class against the others, (R, N, C); None where only probabilities are known.
    """

    split: str
    ids: Sequence[str]
    groups: Sequence[str]
    targets: np.ndarray
    scores: np.ndarray
    log_odds: np.ndarray | None = None

    @property
    def ranking(self) -> np.ndarray:
        """What AUROC ranks by, (R, N, C): log-odds tell apart what rounds to one probability."""
        return logit(self.scores.astype(np.float64)) if self.log_odds is None else self.log_odds

    def ordered(self, metric: str) -> np.ndarray:
        """What a metric is computed from, (R, N, C): AUROC from what ranks, the others from probabilities."""
        return self.ranking if metric == "auroc" else self.scores


def predictions_table(parts: Sequence[Predictions], classes: Sequence[str], runs: Sequence[int]) -> pa.Table:
    """One row per sample and run: id, split, run, target, group, the score of each class and its log-odds."""
    tables = []
    for part in parts:
        for run, table, log_odds in zip(runs, part.scores, part.ranking, strict=True):
            targets = pa.array([None if t < 0 else int(t) for t in part.targets], pa.int64())
            columns = _identities(part, run, target=targets)
            for number, name in enumerate(classes):
                columns[f"{SCORE}{name}"] = pa.array(table[:, number], pa.float32())
            for number, name in enumerate(classes):
                columns[f"{LOG_ODDS}{name}"] = pa.array(log_odds[:, number], pa.float32())
            tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def read_predictions(folder: Path, split: str) -> tuple[Predictions, list[str]]:
    """The predictions of one split of a finished result, and the class names.

    Raises:
        UsageError: The file is missing or damaged, or does not have the split.
    """
    table, ids, groups, runs = _read_split(folder, split)
    names = [name for name in table.column_names if name.startswith(SCORE)]
    classes = [name.removeprefix(SCORE) for name in names]
    by_log_odds = [name for name in (f"{LOG_ODDS}{label}" for label in classes) if name in table.column_names]

    def stacked(columns: list[str]) -> np.ndarray:
        return np.stack([table[name].to_numpy().reshape(runs, -1) for name in columns], axis=-1)

    targets = table["target"].slice(0, len(ids)).fill_null(-1).to_numpy()
    log_odds = stacked(by_log_odds) if by_log_odds else None
    return Predictions(split, ids, groups, targets, stacked(names), log_odds), classes


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
    path, content = folder / PREDICTIONS, pa.py_buffer(read_result_file(folder, PREDICTIONS))
    try:
        table = pq.read_table(pa.BufferReader(content), filters=[("split", "=", split)])
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"Expected predictions in {path}, but they do not read ({error}). {AGAIN}") from error
    if not table.num_rows:
        there = pq.read_table(pa.BufferReader(content), columns=["split"])["split"].unique().to_pylist()
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
    """Classes, and the parameters of each run.

    Raises:
        Damaged: The file is missing, or not as it was written.
    """
    content = read_result_file(path.parent, path.name)
    params: dict[int, dict[str, np.ndarray]] = {}
    for key, value in load(content).items():
        run, _, name = key.partition(".")
        params.setdefault(int(run.removeprefix("run")), {})[name] = value
    return json.loads(tensors_metadata(content)["classes"]), dict(sorted(params.items()))


def tensors_metadata(content: bytes) -> dict[str, str]:
    """The texts that a file of safetensors carries."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]).get("__metadata__", {})


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
