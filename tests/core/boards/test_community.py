import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eva_core.boards.board import read_board
from eva_core.boards.community import COMMUNITY, folder_of, merge
from eva_core.boards.standings import Scoreboard
from eva_core.boards.tables import as_markdown
from eva_core.errors import EvaError, UsageError
from eva_core.results import record
from eva_core.task import task_named
from eva_core.verification.numbers import recomputed
from tests.core.verification.conftest import resealed


@pytest.fixture
def theirs(finished: Path, tmp_path: Path) -> Path:
    """Results of others: that of the tiny ViT."""
    return Path(shutil.copytree(next(finished.glob("tree/tiny_vit-*/linear")), tmp_path / "theirs" / "vit"))


def renamed(folder: Path, name: str) -> None:
    def change(content: dict[str, Any]) -> None:
        content["identity"]["model"], content["key"] = name, "5" * 64

    resealed(folder, change)


def otherwise(folder: Path) -> None:
    """Other predictions, with the numbers that follow from them."""
    table = pq.read_table(folder / record.PREDICTIONS)
    turned = {"pink": "purple", "purple": "pink"}
    first = np.arange(table.num_rows) % 3 == 0
    columns = {}
    for name in table.column_names:
        stem, _, label = name.rpartition("_")
        other = table[f"{stem}_{turned[label]}"] if label in turned else table[name]
        columns[name] = pa.array(np.where(first, other, table[name])) if label in turned else table[name]
    record.write_predictions(folder, pa.table(columns).cast(table.schema))
    content = json.loads((folder / record.RESULTS).read_text())
    parts, draws, _ = recomputed(folder, content, task_named("classification"))
    record.write_draws(folder, draws)
    resealed(folder, lambda stated: stated.update(parts))


def test_results_of_others_stand_beside_ours_where_they_verify(spec: Path, finished: Path, theirs: Path):
    renamed(theirs, "their_vit")
    scores = Scoreboard(read_board(str(spec)), finished)
    assert merge(scores, [str(theirs.parent)]) == []
    board = scores.standings()
    cell = next(row.cells["tree"] for row in board.rows if row.model == "their_vit")
    assert (cell.source, cell.verified) == ("theirs", True)
    assert cell.folder.startswith(COMMUNITY)
    assert not (finished / cell.folder / record.REPORT).exists()
    assert board.pending == 0
    assert "| their_vit | linear |" in as_markdown(board)


def test_the_same_result_says_nothing_new_and_another_by_its_key_is_a_conflict(
    spec: Path, finished: Path, theirs: Path
):
    scores = Scoreboard(read_board(str(spec)), finished)
    assert (merge(scores, [str(theirs)]), scores.conflicts) == ([], [])
    otherwise(theirs)
    assert merge(scores, [str(theirs)]) == []
    (line,) = scores.conflicts
    assert line.startswith("tiny_vit on tree, linear: 1.0 (1.000 to 1.000) here, 0.")
    board = scores.standings()
    assert board.conflicts == [line]
    assert {row.cells["tree"].value for row in board.rows if row.model == "tiny_vit"} == {1.0}
    assert "Conflict: " in as_markdown(board)


def test_what_does_not_verify_or_compare_is_not_merged(spec: Path, finished: Path, theirs: Path):
    scores = Scoreboard(read_board(str(spec)), finished)
    resealed(theirs, lambda content: content["main"].update(mean=0.99))
    (line,) = merge(scores, [str(theirs)])
    assert "not merged: main.mean: expected 1.0, but found 0.99." in line
    for field, value, reason in (
        ("protocol", "other", "its protocol is other"),
        ("dataset", "nowhere", "the board has no task on nowhere"),
        ("dataset_sha256", "6" * 64, "on other files"),
        ("head", "knn", "its head is knn"),
    ):
        before = json.loads((next(finished.glob("tree/tiny_vit-*/linear")) / record.RESULTS).read_text())
        (theirs / record.RESULTS).write_text(json.dumps(before))
        resealed(theirs, lambda content, f=field, v=value: content["identity"].update({f: v}))
        (line,) = merge(scores, [str(theirs)])
        assert reason in line
    assert not (finished / COMMUNITY).exists()


def test_sources_are_folders_or_datasets_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="is not there"):
        folder_of(str(tmp_path / "gone"))
    asked: list[Any] = []

    def snapshot(repo: str, **more: Any) -> str:
        asked.append((repo, more))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert folder_of("hf-hub:owner/board@v1") == tmp_path
    assert asked == [("owner/board", {"repo_type": "dataset", "revision": "v1"})]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(EvaError, match="Cannot get results of dataset owner/board"):
        folder_of("hf-hub:owner/board")
