from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eva_core.errors import EvaError, UsageError
from eva_core.results.predictions import identity_columns, read_split
from eva_core.results.record import PREDICTIONS, write_results


@dataclass
class Part:
    split: str
    ids: list[str]
    groups: list[str]


def written(folder: Path) -> Path:
    """Two splits of two runs, as any kind of task writes them."""
    parts = [Part("val", ["v"], [""]), Part("test", ["a", "b"], ["p", ""])]
    tables = [
        pa.table(identity_columns(part, run, value=pa.array([run + n for n in range(len(part.ids))], pa.int64())))
        for part in parts
        for run in (0, 1)
    ]
    pq.write_table(pa.concat_tables(tables), folder / PREDICTIONS)
    write_results(folder, {"key": "k"}, [PREDICTIONS])
    return folder


def test_rows_of_a_split_come_back_by_run(tmp_path: Path):
    table, ids, groups, runs = read_split(written(tmp_path), "test")
    assert (ids, groups, runs) == (["a", "b"], ["p", ""], 2)
    assert table.column_names == ["id", "split", "run", "value", "group"]
    assert table["value"].to_pylist() == [0, 1, 1, 2]


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path):
    with pytest.raises(UsageError, match=r"Expected split 'train' in .*, but it has val, test\."):
        read_split(written(tmp_path), "train")


def test_a_file_that_is_no_table_is_one_line(tmp_path: Path):
    (tmp_path / PREDICTIONS).write_bytes(b"PAR1 and nothing else")
    write_results(tmp_path, {"key": "k"}, [PREDICTIONS])
    with pytest.raises(UsageError, match=r"they do not read .*Run `eva fit`"):
        read_split(tmp_path, "test")
    (tmp_path / PREDICTIONS).unlink()
    with pytest.raises(EvaError, match=PREDICTIONS):
        read_split(tmp_path, "test")
