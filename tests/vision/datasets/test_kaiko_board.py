"""The columns of the `kaiko` board on whole slides: the shipped board over tiny trees, up to published values."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from eva_core.boards import standings as boards
from eva_core.boards.board import Board, read_board
from eva_core.boards.standings import outside_tolerance, published_values, standings
from eva_core.cli import main
from eva_core.config.files import find_config
from eva_core.config.protocols import load_protocol, resolve
from eva_vision.datasets.camelyon16 import Camelyon16Small
from eva_vision.datasets.panda import PandaSmall
from tests.vision.datasets import test_camelyon16, test_camelyon16_small, test_panda, test_panda_small, trees

COLUMNS = ["camelyon16_small", "panda_small"]
SHORT = "eva-0.4+slide_classification.epochs=3+slide_classification.runs=2"


def columns(folder: Path) -> Path:
    """The shipped board with a tiny model called as one that has published values, on slides alone, and short."""
    content = yaml.safe_load(find_config("kaiko").read_text())
    assert set(COLUMNS) <= {task for task in content["tasks"] if isinstance(task, str)}
    changes = {"slide_classification": {"runs": 2, "epochs": 3}}
    tasks = [{"name": name, "config": name, "protocol": changes} for name in COLUMNS]
    models = [{"name": "phikon", "class_path": "colour_stats"}]
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump({**content, "models": models, "tasks": tasks, "average_without": []}))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Board, Path]]:
    """The board and the folder of its results."""
    root = tmp_path_factory.mktemp("kaiko")
    with pytest.MonkeyPatch.context() as patch:
        for name, test in (("camelyon16_small", test_camelyon16_small), ("panda_small", test_panda_small)):
            trees.patch_counts(patch, name, test)
        test_camelyon16.tree(root / "camelyon16")
        test_panda.tree(root / "panda")
        patch.setenv("DATA_ROOT", str(root))
        patch.setenv("EVA_CACHE", str(root / "cache"))
        board, out = columns(root), root / "out"
        assert (
            main(["leaderboard", "--config", str(board), "--output", str(out), "--device", "cpu", "--workers", "0"])
            == 0
        )
        yield read_board(str(board)), out


def test_both_columns_have_a_published_value_of_val_and_test():
    for model in ("virchow2", "uni", "phikon"):
        for column in COLUMNS:
            for split in ("val", "test"):
                assert 0.6 < published_values()[model, column, split, "balanced_accuracy"]["eva-0.4"] < 1


def test_a_short_run_is_shown_beside_published_values_but_not_held_to_them(finished: tuple[Board, Path]):
    board, out = finished
    (row,) = standings(board, out).rows
    for column in COLUMNS:
        cell = row.cells[column]
        assert (cell.reason, cell.protocol, cell.head) == (None, SHORT, "abmil")
        assert (cell.delta, cell.checks) == (None, [])
        assert cell.published == published_values()["phikon", column, "test", "balanced_accuracy"]["eva-0.4"]
    assert "quadratic_kappa" in row.cells["panda_small"].extras
    assert "quadratic_kappa" not in row.cells["camelyon16_small"].extras
    assert "panda_small" in (out / "leaderboard.html").read_text()


def test_a_published_value_is_found_by_the_string_of_the_protocol(
    finished: tuple[Board, Path], monkeypatch: pytest.MonkeyPatch
):
    values = {
        ("phikon", "panda_small", "val", "balanced_accuracy"): {"eva-0.4": 0.25, SHORT: 0.75},
        ("phikon", "panda_small", "test", "balanced_accuracy"): {"eva-0.4": 0.125, SHORT: 0.5},
    }
    monkeypatch.setattr(boards, "published_values", lambda: values)
    found = standings(*finished)
    cell = found.rows[0].cells["panda_small"]
    assert (cell.split, cell.published, cell.published_protocol) == ("test", 0.5, SHORT)
    assert cell.delta == pytest.approx(cell.value - 0.5)
    assert [(split, published) for split, _, published in cell.checks] == [("val", 0.75), ("test", 0.5)]
    lines, checked = outside_tolerance(found, 0.001)
    assert checked == 2
    assert all("phikon on panda_small" in line and "published" in line for line in lines)


def test_the_columns_of_the_shipped_board_have_the_published_string():
    protocol = load_protocol(read_board("kaiko").protocol)
    for card in (Camelyon16Small.card, PandaSmall.card):
        resolved = resolve(protocol, card, None)
        assert (resolved.title, resolved.heads, resolved.section.runs) == ("eva-0.4", ("abmil",), 20)
