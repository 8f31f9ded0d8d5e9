from pathlib import Path

import pytest
from rich.console import Console

from eva_core.boards import live as lives
from eva_core.boards.board import Board, Pair, Part
from eva_core.boards.live import Live


@pytest.fixture
def board() -> tuple[Board, list[Pair], list[Pair]]:
    models, tasks, heads = (tuple(Part(n, n) for n in names) for names in (("a", "b"), ("t", "u"), ("linear",)))
    board = Board("b", "A board", models, tasks, heads, "eva-0.4", (), 0.02)
    pairs = [Pair(m.name, t.name, {}, "eva-0.4", heads, Path("out") / m.name / t.name) for m in models for t in tasks]
    return board, pairs, pairs


def test_time_left_goes_by_what_ended(board, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    now = [0.0]
    monkeypatch.setattr(lives.time, "monotonic", lambda: now[0])
    with Live(*board) as live:
        assert live.time_left() == "4 to go"
        live.begin(board[1][0])
        now[0] = 60
        live.end(board[1][0], "no weights")
        assert live.time_left() == "3 to go, about 3 min"
    assert "a on t: failed: no weights (3 to go, about 3 min)" in capsys.readouterr().err


def test_the_table_has_a_row_for_each_model_and_what_runs(board):
    live = Live(*board)
    live.begin(board[1][1])
    console = Console(width=80, record=True, file=None)
    with console.capture() as shown:
        console.print(live._table())
    text = shown.get()
    assert "A board" in text
    assert "running" in text
    assert text.count("·") == 3
