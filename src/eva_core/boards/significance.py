"""Tests of which rows of a board differ from the best of a task: by permutation over all pairs, with Holm."""

from itertools import combinations
from math import isnan
from pathlib import Path

from eva_core.boards.rows import Cell, Column, Standings
from eva_core.boards.standings import COMPARISONS
from eva_core.errors import EvaError
from eva_core.files.sealed_records import write_record
from eva_core.statistics.comparison import ALPHA, holm
from eva_core.task import Scores, Task, task_named


def write_comparisons(standings: Standings, output: Path) -> None:
    """Test every pair of rows on every task and leave `comparisons.json`."""
    path = output / COMPARISONS
    cells = {
        t.name: [r.cells[t.name] for r in standings.rows if r.cells[t.name].value is not None] for t in standings.tasks
    }
    keys = {cell.folder: cell.key for column in cells.values() for cell in column}
    columns = {t.name: t for t in standings.tasks}
    tests = [
        (task, a.folder, b.folder, p)
        for task, column in cells.items()
        for a, b, p in _tests(column, columns[task], output)
    ]
    adjusted = holm([p for *_, p in tests])
    differ = {frozenset((a, b)): p <= ALPHA for (_, a, b, _), p in zip(tests, adjusted, strict=True)}
    tied: dict[str, bool | None] = {}
    for task, column in cells.items():
        sign = columns[task].metric.sign
        best = max(column, key=lambda cell: sign * (cell.value or 0), default=Cell())
        for cell in column:
            differs = differ.get(frozenset((cell.folder, best.folder)))
            tied[cell.folder] = True if cell is best else None if differs is None else not differs
    write_record(path, {"keys": keys, "tests": len(tests), "alpha": ALPHA, "tied": tied})


def _tests(column: list[Cell], task: Column, output: Path) -> list[tuple[Cell, Cell, float]]:
    """Each pair of a column with its p; pairs on other images, on one group, or of damaged predictions are left out."""
    try:
        kind = task_named(task.kind)
    except EvaError:  # a plugin that is not installed here
        return []
    if not kind.comparable(task.metric_name):
        return []
    read = [(cell, scores) for cell in column if (scores := _scores(kind, cell, output)) is not None]
    tests = []
    for (a, one), (b, other) in combinations(read, 2):
        if list(one.ids) == list(other.ids) and list(one.labels) == list(other.labels):
            difference, p = one.test(other, task.metric_name)
            if not isnan(difference):
                tests.append((a, b, p))
    return tests


def _scores(kind: Task, cell: Cell, output: Path) -> Scores | None:
    try:
        return kind.read(output / cell.folder, cell.split)
    except EvaError:  # `eva leaderboard` makes such a result again
        return None
