"""Points of a curve: the head fitted to one draw of one share, kept so that a stopped curve goes on."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eva_core.contracts.results import SCHEMA as RESULTS_SCHEMA
from eva_core.contracts.results import Results
from eva_core.curves.schema import SCHEMA
from eva_core.errors import UsageError
from eva_core.files.atomic_files import make_folder
from eva_core.files.checksums import Damaged
from eva_core.files.sealed_records import FILES, check_files, read_file, read_record, vouch, write_record
from eva_core.identity import digest
from eva_core.job import Job
from eva_core.results.record import PREDICTIONS, without_nan, write_predictions
from eva_core.task import Scores, task_named
from eva_core.verification.numbers import staged

POINT = "point.json"


@dataclass(frozen=True)
class Asked:
    """What a point is fitted to.

    Attributes:
        job: The model, dataset, head and protocol.
        store: What was extracted, with the drawn samples as its train split.
        key: Hash of all that decides the score.
        whole: Whether all of train is drawn: then what cannot be fitted is an error, as in `eva fit`.
    """

    job: Job
    store: Any
    key: str
    whole: bool


def point_key(stamp: dict[str, Any], ids: np.ndarray) -> str:
    """The key of a point: that of the result on all of train, and the ids of the samples that it learns from, (n,)."""
    return digest({"curve": SCHEMA, "result": stamp["key"], "train": [str(name) for name in ids]})


def fitted_point(asked: Asked, folder: Path, tell: Callable[[str], None]) -> dict[str, Any] | str:
    """The record of a point: what its folder holds, else it is fitted and kept there.

    Args:
        asked: What is fitted to what.
        folder: Where it is kept.
        tell: Receives a line where a damaged point is made again.
    Returns:
        Its point.json; or why the head could not be fitted to so little.
    Raises:
        UsageError: The folder holds a point of another curve, or all of train cannot be fitted.
        EvaError: The head diverged.
    """
    try:
        kept = read_record(folder / POINT)
        check_files(folder, kept)
    except FileNotFoundError:
        kept = {}
    except Damaged as error:
        tell(f"{error} The point is fitted again.")
        kept = {}
    if kept and kept["key"] != asked.key:
        raise UsageError(
            f"Expected a point of this curve in {folder}, but it is of another model, dataset, head, protocol or "
            "version. Choose another --output."
        )
    return kept or _fit(asked, folder)


def _fit(asked: Asked, folder: Path) -> dict[str, Any] | str:
    job, task = asked.job, task_named(asked.job.dataset.card.task)
    make_folder(folder)
    try:
        answer = task.evaluate(job, asked.store, folder, asked.key)
    except UsageError as error:
        if asked.whole:
            raise
        return str(error)
    record = answer.record
    main, split = record["main"], record["main"]["split"]
    write_predictions(folder, answer.predictions)
    content = {
        "key": asked.key,
        "main": main,
        "score": record["splits"][split],
        "nulls": {name: null["splits"][split]["metrics"][main["metric"]] for name, null in record["baselines"].items()},
        "selected": record["selected"],
        "selection": record["selection"],
        FILES: vouch(folder, [PREDICTIONS]),
    }
    write_record(folder / POINT, json.loads(json.dumps(without_nan(content))))
    task.tidy(folder)
    return read_record(folder / POINT)


def pooled(task: str, folders: list[Path], split: str) -> Scores:
    """The predictions of several draws on one split, as if each draw were some more runs of one head.

    Args:
        task: Name of the kind of task.
        folders: Those of the points, of the same model and share.
        split: The split that is reported.
    """
    tables, runs = [], 0
    for folder in folders:
        content = read_file(folder, PREDICTIONS, read_record(folder / POINT))
        table = pq.read_table(BytesIO(content), filters=[("split", "=", split)])
        run = pc.add(pc.rank(table["run"], tiebreaker="dense"), runs - 1).cast(pa.int32())
        runs += len(pc.unique(table["run"]))
        tables.append(table.set_column(table.column_names.index("run"), "run", run))
    whole = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(tables), whole)
    facts = cast(Results, {"schema": RESULTS_SCHEMA})
    with staged(facts, {PREDICTIONS: whole.getvalue().to_pybytes()}) as copy:
        return task_named(task).read(copy, split)
