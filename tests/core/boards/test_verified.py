import json
from pathlib import Path

import pytest

from eva_core.boards.board import read_board
from eva_core.boards.page import write_page
from eva_core.boards.standings import standings
from eva_core.boards.tables import as_csv, as_latex, as_markdown
from eva_core.boards.verified import verify_cells
from eva_core.cli import main
from tests.core.verification.conftest import resealed


def test_each_score_is_marked_and_an_edited_one_is_named(
    spec: Path, finished: Path, capsys: pytest.CaptureFixture[str]
):
    odd = next(finished.glob("tree/colour_stats-*/linear"))
    resealed(odd, lambda content: content["main"].update(mean=0.5))
    board = standings(read_board(str(spec)), finished)
    (line,) = verify_cells(board, finished)
    assert line.endswith("main.mean: expected 1.0, but found 0.5.")
    cells = {(row.model, row.head): row.cells["tree"] for row in board.rows}
    assert cells["colour_stats", "linear"].verified is False
    assert cells["tiny_vit", "linear"].verified is True
    assert cells["broken", "linear"].verified is None
    assert "✗" in as_markdown(board)
    assert r"$\checkmark$" in as_latex(board)
    assert ",True,," in as_csv(board)
    page = write_page(board, finished / "p.html").read_text()
    data = json.loads(page.partition('type="application/json">')[2].partition("</script>")[0])
    assert sum(row["cells"]["tree"].get("verified", None) is True for row in data["rows"]) == 3
    words = ["leaderboard", "--config", str(spec), "--output", str(finished), "--no-run", "--verify"]
    capsys.readouterr()
    assert main(words) == 1
    assert "main.mean: expected 1.0, but found 0.5." in capsys.readouterr().err
