"""The numbers of a result made again from its predictions, by the code that made them, and compared one by one."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.results import Results
from eva_core.errors import EvaError
from eva_core.evaluation.splits import Plan, summary
from eva_core.files.atomic_files import write_bytes
from eva_core.files.file_names import below
from eva_core.files.sealed_records import FILES, vouch, write_record
from eva_core.results.record import DRAWS, PREDICTIONS, RESULTS, environment, without_nan
from eva_core.task import Task
from eva_core.verification.verdict import Verdict

DECIDING = ("platform", "python", "eva-pathology", "torch", "torchmetrics", "numpy", "scipy")
"""What the last digit of a number may depend on."""
TOLERANCE = 1e-6
"""Between numbers that two machines or versions made."""
TABLE = ".parquet"
BROKEN = (KeyError, TypeError, AttributeError, ValueError, IndexError, OSError, pa.ArrowException)
"""What reading a file may raise that somebody changed."""


def check_numbers(verdict: Verdict, results: Results, task: Task) -> None:
    """Compare every number that predictions decide with the one that is stated.

    Args:
        verdict: Learns what differs.
        results: The content of results.json.
        task: The kind of task of the result.
    """
    try:
        expected, draws, problems = recomputed(verdict.folder, results, task)
        tolerance = 0.0 if _same_machine(results) else TOLERANCE
        count, lines = differences(expected, {name: results.get(name) for name in expected}, tolerance)
        lines += [f"{PREDICTIONS}: {problem}" for problem in problems]
        lines += _draws(verdict.folder, draws, tolerance)
    except EvaError as error:
        verdict.unchecked.append(f"numbers: {error}")
        return
    except BROKEN as error:
        verdict.wrong.append(f"Expected the fields of a result and its predictions, but found {reason(error)}.")
        return
    verdict.wrong += lines
    if not lines:
        how = "to the last digit" if tolerance == 0 else f"to {tolerance:g}, as it was made on another machine"
        verdict.holds.append(f"{count} numbers follow from {PREDICTIONS} {how}")


def recomputed(folder: Path, results: Results, task: Task) -> tuple[dict[str, Any], np.ndarray, list[str]]:
    """What results.json has to say of its predictions.

    Args:
        folder: The folder of the result.
        results: The content of results.json: names of splits and metrics are taken from it.
        task: The kind of task of the result.
    Returns:
        The parts `main`, `selection` and `splits`, without what heads score after their last step, and those that only
        this kind of task has; the draws of the main metric, (draws,); what contradicts itself in the predictions.
    """
    main, draws, problems = results["main"], np.array([]), []
    scored: dict[str, Any] = {}
    splits: dict[str, Any] = {}
    content = (folder / PREDICTIONS).read_bytes()
    there = pq.read_table(BytesIO(content), columns=["split"])["split"].unique().to_pylist()
    if sorted(there) != sorted(results["splits"]):
        problems.append(f"expected splits {sorted(results['splits'])}, but found {sorted(there)}.")
    tables = {name: below(folder, name) for name in task.files(results) if name.endswith(TABLE)}
    own = {name: path.read_bytes() for name, path in tables.items()}
    with staged(results, {PREDICTIONS: content, **own}) as copy:
        for split, stated in results["splits"].items():
            scored[split] = part = task.read(copy, split)
            problems += part.contradictions()
            splits[split], intervals = part.record(metric_names(stated["metrics"]))
            if split == main["split"]:
                draws, labels = intervals.draws[main["metric"]], part.labels
        more = task.made_again(copy, results, scored)
    card = DatasetCard(results["identity"]["dataset"], results["task"], tuple(labels), ordinal=True)
    nothing = np.array([], np.int64)
    plan = Plan(nothing, nothing, tuple(splits), main["split"], main["selected_on"], results["selection"])
    parts: Any = {**summary(plan, splits, main["metric"], task.metrics(card)[main["metric"]]), **more}
    for record in splits.values():
        for metric in record["metrics"].values():
            del metric["last"]
    return json.loads(json.dumps(without_nan(parts))), draws, problems


def metric_names(metrics: Mapping[str, Any]) -> list[str]:
    """Names of metrics without those of single classes, each once."""
    return list(dict.fromkeys(name.partition("/")[0] for name in metrics))


@contextmanager
def staged(results: Results, tables: Mapping[str, bytes]) -> Iterator[Path]:
    """A folder in which a task reads tables as those of a result, whatever is wrong with its seals."""
    with TemporaryDirectory(prefix="eva-verify-") as name:
        for table, content in tables.items():
            write_bytes(Path(name) / table, content)
        write_record(Path(name) / RESULTS, {**results, FILES: vouch(Path(name), tables)})
        yield Path(name)


def differences(expected: Any, found: Any, tolerance: float, where: str = "") -> tuple[int, list[str]]:
    """How many numbers and texts were compared, and a line for each that differs.

    Args:
        expected: As recomputed.
        found: As stated; may have `last` beside what is expected.
        tolerance: Greatest difference of two numbers, relative to those above 1.
        where: The place in results.json, for the lines.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        names = [*dict.fromkeys((*expected, *(name for name in found if name != "last" or "last" in expected)))]
        pairs = [(expected.get(name, "nothing"), found.get(name, "nothing"), f"{where}.{name}") for name in names]
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = [(one, other, f"{where}.{n}") for n, (one, other) in enumerate(zip(expected, found, strict=True))]
    else:
        same = type(expected) is type(found) and expected == found
        if not same and tolerance and isinstance(expected, float) and isinstance(found, float):
            same = abs(expected - found) <= tolerance * max(1.0, abs(expected))
        return 1, [] if same else [f"{where.lstrip('.')}: expected {_shown(expected)}, but found {_shown(found)}."]
    count, lines = 0, list[str]()
    for one, other, place in pairs:
        more, of_them = differences(one, other, tolerance, place)
        count, lines = count + more, lines + of_them
    return count, lines


def _draws(folder: Path, expected: np.ndarray, tolerance: float) -> list[str]:
    """Lines on the bootstrap values of the main metric."""
    found = np.load(folder / DRAWS, allow_pickle=False)
    expected = expected.astype(np.float32)
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return [f"{DRAWS}: expected {expected.dtype} {expected.shape}, but found {found.dtype} {found.shape}."]
    wrong = ~np.isclose(expected, found, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not wrong.any():
        return []
    first = int(np.flatnonzero(wrong)[0])
    return [f"{DRAWS}: expected {expected[first]!r} in draw {first}, but found {found[first]!r}; {wrong.sum()} differ."]


def _same_machine(results: Results) -> bool:
    here, stated = environment(), results["environment"]
    return all(here[name] == stated.get(name) for name in DECIDING)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def reason(error: Exception) -> str:
    """What went wrong with content that somebody changed, in a few words."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
