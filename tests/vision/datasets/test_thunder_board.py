"""The board `thunder`: models on tiny trees under its protocol and in its splits, up to the published values."""

from pathlib import Path

import pytest
import yaml

from eva_core import registry
from eva_core.boards.board import read_board
from eva_core.boards.standings import outside_tolerance, published_values, standings
from eva_core.cli import main
from eva_core.config.files import find_config
from eva_core.config.protocols import load_protocol, resolve
from eva_vision.datasets.breakhis import BreakHis
from eva_vision.heads.linear_thunder import LinearThunder
from tests.vision.datasets import test_breakhis, trees

PROTOCOL = "thunder-linear-probing"
TASKS = ["ccrcc", "starc9"]
SIXTEEN = {task for (_, task, split, metric), by in published_values().items() if PROTOCOL in by}


def smaller(folder: Path, tasks: list[object], models: list[object]) -> Path:
    """The shipped board on some of its tasks, with models that need no weights."""
    content = yaml.safe_load(find_config("thunder").read_text())
    shipped = [task if isinstance(task, str) else task["name"] for task in content["tasks"]]
    assert {task if isinstance(task, str) else task["name"] for task in tasks} <= set(shipped)
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump({**content, "models": models, "tasks": tasks, "average_without": []}))
    return path


@pytest.fixture(autouse=True)
def _few_epochs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(LinearThunder.__init__, "__defaults__", ((0.0, 1e-3, 1e-4), 3))
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("EVA_CACHE", str(tmp_path / "cache"))


def run(board: Path, out: Path) -> int:
    return main(["leaderboard", "--config", str(board), "--output", str(out), "--device", "cpu", "--workers", "0"])


@pytest.fixture
def trees_of_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TASKS:
        trees.patch_counts(monkeypatch, name, trees.module_of(name))
        trees.write(name, tmp_path / name)


@pytest.mark.usefixtures("trees_of_tasks")
def test_scores_are_compared_with_published_ones_by_the_string_of_the_protocol(tmp_path: Path):
    models = ["colour_stats", {"name": "uni", "class_path": "colour_stats"}]
    board, out = smaller(tmp_path, [*TASKS], models), tmp_path / "out"
    assert run(board, out) == 0
    found = standings(read_board(str(board)), out)
    assert {row.model for row in found.rows} == {"colour_stats", "uni"}
    for row in found.rows:
        for task, cell in row.cells.items():
            assert (cell.reason, cell.protocol, cell.head, cell.split) == (None, PROTOCOL, "linear_thunder", "test")
            assert 0 <= cell.extras["ece5"] <= 1
            published = published_values().get((row.model, task, "test", "f1"), {}).get(PROTOCOL)
            assert cell.published == published
            assert cell.delta == (None if published is None else pytest.approx(cell.value - published))
    assert {column.metric_name for column in found.tasks} == {"f1"}
    lines, checked = outside_tolerance(found, 0.02)
    assert checked == len(SIXTEEN & set(TASKS)) == 1
    assert all(line.startswith("uni on ccrcc test") for line in lines)
    assert "ece5" in (out / "leaderboard.html").read_text()
    assert main(["verify", str(out / found.rows[0].cells["ccrcc"].folder)]) == 0


def test_the_splits_of_the_board_are_those_of_thunder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    test_breakhis.tree(tmp_path / "breakhis")
    more = [f"BreaKHis_v1/a/40X/SOB_M_{label}-14-99{label}-40-001.png" for label in ("DC", "MC")]
    trees.write_images(tmp_path / "breakhis", more)
    monkeypatch.setattr(BreakHis, "counts", {"train": 10, "val": 6})
    monkeypatch.setattr(BreakHis, "thunder_counts", {"train": 6, "val": 4, "test": 6})
    tasks = yaml.safe_load(find_config("thunder").read_text())["tasks"]
    changed = {task["config"]: task for task in tasks if isinstance(task, dict)}
    assert {name: task["init_args"] for name, task in changed.items()} == {
        name: {"splits": "thunder"} for name in ("bach", "breakhis", "crc", "mhist")
    }
    board = smaller(tmp_path, [changed["breakhis"]], ["colour_stats"])
    assert run(board, tmp_path / "out") == 0
    (row,) = standings(read_board(str(board)), tmp_path / "out").rows
    cell = row.cells["breakhis"]
    assert (cell.reason, cell.split, cell.n, cell.protocol) == (None, "test", 6, PROTOCOL)


def test_the_board_has_the_tasks_of_the_published_average_and_the_string_of_its_values():
    board = read_board("thunder")
    counted = {task.name for task in board.tasks} - set(board.average_without)
    assert counted == SIXTEEN - {"thunder_average_16"}
    assert len(counted) == 16
    protocol = load_protocol(board.protocol)
    for name in counted:
        card = registry.datasets.load(name).card
        assert (resolve(protocol, card).title, resolve(protocol, card).heads) == (PROTOCOL, ("linear_thunder",))
    published = {model for (model, task, *_), by in published_values().items() if PROTOCOL in by}
    assert {"uni2_h", "virchow2", "phikon"} <= published <= {model.name for model in board.models}


def test_published_values_of_another_pooling_have_another_string():
    values = published_values()["h0_mini", "bach", "test", "f1"]
    assert values == {f"{PROTOCOL}+pooling=cls_mean": 0.713}  # THUNDER joins class token and mean; the card does not
