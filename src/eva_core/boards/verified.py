"""Marks of the scores of a board that were made again from their predictions."""

from pathlib import Path

from eva_core.boards.rows import Cell, Standings
from eva_core.errors import EvaError
from eva_core.progress import Bar
from eva_core.verification.verify import verify


def verify_cells(standings: Standings, output: Path) -> list[str]:
    """Verify each score of a board, and mark it; returns a line for each thing that does not hold.

    Args:
        standings: Its cells learn what was found.
        output: Folder of the board.
    """
    cells = [cell for row in standings.rows for cell in row.cells.values() if cell.value is not None]
    lines = []
    with Bar(f"verifying {standings.name}", len(cells), "results") as bar:
        for cell in cells:
            lines += _verify(cell, output)
            bar.advance(1)
    return lines


def _verify(cell: Cell, output: Path) -> list[str]:
    try:
        verdict = verify(output / cell.folder, sources=False)
    except EvaError as error:
        cell.wrong = [f"not checked: {error}"]
        return [f"{cell.folder}: {cell.wrong[0]}"]
    cell.verified = {0: True, 1: False, 2: None}[verdict.exit_code]
    cell.wrong = verdict.lines()
    return [f"{cell.folder}: {line}" for line in cell.wrong]
