"""results.json and what lies beside it: written durably, read back where it is whole. Free of torch: boards read it."""

import io
import json
import math
import platform
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load, save

from eva_core.contracts.results import SCHEMA, Results
from eva_core.errors import EvaError, UsageError
from eva_core.files.addresses import free_of_secrets
from eva_core.files.atomic_files import make_folder, write_bytes, write_text
from eva_core.files.cache import locked
from eva_core.files.checksums import Damaged, Verified
from eva_core.files.sealed_records import FILES, check_files, read_file, read_record, vouch, write_record
from eva_core.progress import say

RESULTS, CONFIG, PREDICTIONS, HEADS = "results.json", "config.yaml", "predictions.parquet", "heads.safetensors"
DRAWS = "bootstrap.npy"
REPORT = "report.html"
"""The page of a result: made from the others, so that results.json does not vouch for it."""
RESULT_FILES = (CONFIG, PREDICTIONS, HEADS, DRAWS)
AGAIN = "Run `eva fit` or `eva leaderboard` again: it makes the result anew."


def environment() -> dict[str, str]:
    """Versions that a number may depend on."""
    return {"python": platform.python_version(), "platform": platform.platform(), **_versions()}


@cache  # metadata of packages are read from files
def _versions() -> dict[str, str]:
    packages = ("eva-pathology", "torch", "timm", "torchvision", "torchmetrics", "numpy", "scipy", "h5py")
    return {package: version(package) for package in packages}


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


def write_results(folder: Path, results: Mapping[str, object], files: Iterable[str] = ()) -> None:
    """Write results.json: last, as its presence means done.

    Args:
        folder: Folder of the result.
        results: Content; NaN becomes null, and what opens an address is left out.
        files: What it vouches for, by name below the folder; on disk already.
    """
    write_record(
        folder / RESULTS, {"schema": SCHEMA, **free_of_secrets(without_nan(results)), FILES: vouch(folder, files)}
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


def read_results(folder: Path) -> Results:
    """The results of a finished fit.

    Raises:
        UsageError: There are none in this folder.
        Damaged: They are not as they were written, or another version or program wrote them.
        EvaError: They could not be read.
    """
    try:
        content = read_record(folder / RESULTS)
    except FileNotFoundError as error:
        raise UsageError(
            f"Expected a finished result in {folder}, but it has no {RESULTS}. Run `eva fit` first."
        ) from error
    except Damaged as error:
        raise Damaged(f"{error} {AGAIN}") from error
    if content.get("schema") != SCHEMA:
        raise Damaged(f"{folder / RESULTS} is of another version of eva (schema {content.get('schema')!r}). {AGAIN}")
    return cast(Results, content)


def read_whole_result(folder: Path, notes: Verified | None = None) -> Results:
    """The results of a finished fit of which every file is there, as it was written.

    Args:
        folder: Folder of the result.
        notes: Names the files that were found whole before: those are not read again.
    Raises:
        UsageError: There are none in this folder.
        Damaged: Names the first file that is missing or not as it was written.
        EvaError: One could not be read.
    """
    results = read_results(folder)
    try:
        check_files(folder, results, notes)
    except Damaged as error:
        raise Damaged(f"{error} {AGAIN}") from error
    return results


def is_whole(folder: Path, notes: Verified | None = None) -> bool:
    """Whether a folder has a finished result of which every file is there, as it was written."""
    try:
        read_whole_result(folder, notes)
    except EvaError:
        return False
    return True


def read_result_file(folder: Path, name: str, results: Results | None = None) -> bytes:
    """The content of a file of a finished result, as it was written.

    Args:
        folder: Folder of the result.
        name: Name of the file below it.
        results: The content of results.json; read unless given.
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


def read_draws(folder: Path, results: Results | None = None) -> np.ndarray:
    """Bootstrap values of the main metric of a finished result, (draws,).

    Raises:
        Damaged: They are missing, or not as they were written.
    """
    draws: np.ndarray = np.load(io.BytesIO(read_result_file(folder, DRAWS, results)), allow_pickle=False)
    return draws


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
    write_table(folder / PREDICTIONS, table)


def write_table(path: Path, table: pa.Table) -> None:
    """Write rows as Parquet."""
    content = pa.BufferOutputStream()
    pq.write_table(table, content)
    write_bytes(path, content.getvalue().to_pybytes())


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
    return heads_of(read_result_file(path.parent, path.name))


def heads_of(content: bytes) -> tuple[list[str], dict[int, dict[str, np.ndarray]]]:
    """Classes, and the parameters of each run, from the bytes of their file."""
    params: dict[int, dict[str, np.ndarray]] = {}
    for key, value in load(content).items():
        run, _, name = key.partition(".")
        params.setdefault(int(run.removeprefix("run")), {})[name] = value
    return json.loads(tensors_metadata(content)["classes"]), dict(sorted(params.items()))


def tensors_metadata(content: bytes) -> dict[str, str]:
    """The texts that a file of safetensors carries."""
    size = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    return metadata


def without_nan(value: Any) -> Any:
    """A value as JSON can hold it: what is not finite becomes null, tuples become lists."""
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
