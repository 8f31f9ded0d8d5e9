"""The predictions of a result made again, from the stored embeddings and its heads."""

from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from eva_core.contracts.results import Results
from eva_core.errors import EvaError
from eva_core.job import Job
from eva_core.results.record import HEADS, PREDICTIONS, heads_of
from eva_core.task import Task
from eva_core.verification.verdict import Verdict

ROUNDING = 1e-4
"""Between outputs of one head on one embedding: sums of float32 in another order."""


def check_heads(verdict: Verdict, results: Results, task: Task, job: Job) -> None:
    """Compare predictions.parquet with what the heads say of the stored embeddings.

    Args:
        verdict: Learns what differs.
        results: The content of results.json.
        task: The kind of task of the result.
        job: The job of the result; its model may be a stand-in.
    """
    classes, arrays = heads_of((verdict.folder / HEADS).read_bytes())
    if list(classes) != list(job.dataset.card.classes):
        verdict.wrong.append(
            f"{HEADS}: expected classes {', '.join(job.dataset.card.classes)}, but found {', '.join(classes)}."
        )
        return
    try:
        store = _store(results, task, job)
        if store is None:
            verdict.unchecked.append(
                f"predictions from heads: the embeddings of {results['identity']['model']} on "
                f"{results['identity']['dataset']} are not in the cache. `eva predict` makes them."
            )
            return
        heads = {run: {name: torch.from_numpy(v) for name, v in of_run.items()} for run, of_run in arrays.items()}
        expected = task.repeat(job, store, heads)
    except EvaError as error:
        verdict.unchecked.append(f"predictions from heads: {error}")
        return
    found = pq.read_table(BytesIO((verdict.folder / PREDICTIONS).read_bytes()))
    lines = table_differences(expected, found)
    verdict.wrong += [f"{PREDICTIONS}: {line}" for line in lines]
    if not lines:
        verdict.holds.append(f"{found.num_rows} predictions follow from embeddings and heads to {ROUNDING:g}")


def _store(results: Results, task: Task, job: Job) -> Any:
    """What the result was made from, where it is in the cache."""
    identity = results["identity"]
    if job.model != identity["model"]:  # a stand-in, whose embeddings are others
        return task.find_store(
            identity["dataset"],
            identity["weights_sha256"],
            identity["preprocess_sha256"],
            identity["dataset_sha256"],
        )
    key = task.key(job)
    return task.extract(key, job, lambda _: None) if key.path.is_file() else None


def table_differences(expected: pa.Table, found: pa.Table) -> list[str]:
    """A line for each column that differs, with the first sample in which it does."""
    if expected.column_names != found.column_names or expected.num_rows != found.num_rows:
        return [
            f"expected {expected.num_rows} rows of {', '.join(expected.column_names)}, but found {found.num_rows} of "
            f"{', '.join(found.column_names)}."
        ]
    lines = []
    for name in expected.column_names:
        one, other = (np.array(table[name].to_pylist(), object) for table in (expected, found))
        if pa.types.is_floating(expected.schema.field(name).type):
            one, other = (np.array([np.nan if v is None else v for v in values], float) for values in (one, other))
            wrong = ~np.isclose(one, other, rtol=ROUNDING, atol=ROUNDING, equal_nan=True)
        else:
            wrong = one != other
        if wrong.any():
            n = int(np.flatnonzero(wrong)[0])
            which = f"{found['id'][n].as_py()} in run {found['run'][n].as_py()}"
            lines.append(f"{name} of {which}: expected {one[n]}, but found {other[n]}; {wrong.sum()} rows differ.")
    return lines
