"""The board `hest`: nine tasks by their configs, and the published average beside the average of a row."""

from pathlib import Path

import pytest
import yaml

from eva_core.boards import standings as boards
from eva_core.boards.board import read_board
from eva_core.boards.standings import outside_tolerance, published_values, standings
from eva_core.cli import main
from eva_core.config.files import find_config
from tests.vision.datasets.test_hest import tree

NINE = [f"hest_{name}" for name in ("ccrcc", "coad", "idc", "lung", "lymph_idc", "paad", "prad", "read", "skcm")]


def test_the_board_has_the_nine_tasks():
    board = read_board("hest")
    assert sorted(task.name for task in board.tasks) == NINE
    assert board.protocol == "hest-pca256-ridge"
    published = {key[0] for key, value in published_values().items() if key[1] == "hest_average_9"}
    assert {"phikon", "uni", "virchow2", "h_optimus_0"} <= published & {model.name for model in board.models}


def test_the_average_of_a_row_is_compared_with_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in NINE:
        tree(tmp_path / "hest", name, slides=("S0", "S1"), patches=4)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    content = yaml.safe_load(find_config("hest").read_text())
    file = tmp_path / "hest.yaml"
    models = [{"name": "phikon", "class_path": "colour_stats"}, "colour_stats"]
    file.write_text(yaml.safe_dump({**content, "models": models}))
    out = tmp_path / "out"
    main(["leaderboard", "--config", str(file), "--output", str(out), "--device", "cpu", "--workers", "0"])
    rows = {row.model: row for row in standings(read_board(str(file)), out).rows}
    values = [cell.value for cell in rows["phikon"].cells.values()]
    assert len(values) == 9
    assert rows["phikon"].average == pytest.approx(sum(values) / 9)
    assert (rows["phikon"].published, rows["colour_stats"].published) == (0.3656, None)
    lines, checked = outside_tolerance(standings(read_board(str(file)), out), 0.02)
    assert (len(lines), checked) == (1, 1)
    assert lines[0].startswith("phikon, average, default: ")
    monkeypatch.setattr(boards, "published_values", lambda: {})
    assert outside_tolerance(standings(read_board(str(file)), out), 0.02) == ([], 0)
    assert '"published":0.3656' in (out / "leaderboard.html").read_text()
