"""Whether a finished result says what stands behind it."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq

from eva_core.contracts.results import Results
from eva_core.errors import EvaError
from eva_core.results.record import PREDICTIONS
from eva_core.task import Task, task_named
from eva_core.verification.numbers import BROKEN, check_numbers, reason
from eva_core.verification.verdict import Verdict
from eva_core.verification.written import check_files, read_stated


def verify(folder: Path, sources: bool = True, heads: bool = False) -> Verdict:
    """Check a finished result: its files, its numbers, and what it was made of where that is here.

    Args:
        folder: The folder of the result.
        sources: Whether data and weights are looked at too.
        heads: Whether predictions are made again from the stored embeddings and the heads.
    Raises:
        UsageError: There is no result, or one of another version of the format.
        EvaError: A file could not be read.
    """
    verdict = Verdict(folder)
    results = read_stated(verdict)
    if results is None:
        return verdict
    try:
        task = task_named(results["task"])
    except EvaError as error:
        verdict.unchecked.append(f"numbers: {error}")
        _whole(verdict, lambda: check_files(verdict, results, []))
        return verdict
    except BROKEN as error:
        verdict.wrong.append(f"task: expected the kind of task of a result, but found {reason(error)}.")
        return verdict
    _whole(verdict, lambda: check_files(verdict, results, task.files(results)))
    _whole(verdict, lambda: check_numbers(verdict, results, task))
    if sources or heads:
        _whole(verdict, lambda: _check_sources(verdict, results, task, heads))
    return verdict


def _whole(verdict: Verdict, check: Callable[[], None]) -> None:
    """Make a check of content that anybody may have changed: what it lacks is wrong, and no traceback."""
    try:
        check()
    except EvaError as error:
        verdict.unchecked.append(str(error))
    except BROKEN as error:
        verdict.wrong.append(f"Expected the fields and files of a result, but found {reason(error)}.")


def _check_sources(verdict: Verdict, results: Results, task: Task, heads: bool) -> None:
    from eva_core.verification.sources import check_sources

    content = (verdict.folder / PREDICTIONS).read_bytes()
    ids = pq.read_table(BytesIO(content), columns=["id"])["id"].unique().to_pylist()
    job = check_sources(verdict, results, ids)
    if heads and job is None:
        verdict.unchecked.append("predictions from heads: see data and weights.")
    elif heads and job is not None:
        from eva_core.verification.heads import check_heads

        check_heads(verdict, results, task, job)
