"""Which rows of a board no test tells from the best of a task: permutation tests over all pairs, with Holm."""

import json
from itertools import combinations
from pathlib import Path

from eva_core.comparison import holm, permutation
from eva_core.record import read_predictions
from eva_core.standings import COMPARISONS, LOWER_IS_BETTER, Cell, Standings
from eva_core.stats import members

ALPHA = 0.05


def find_ties(found: Standings, output: Path) -> None:
    """Test every pair of rows on every task and leave `comparisons.json`; nothing is done where it is up to date."""
    path = output / COMPARISONS
    cells = {t.name: [r.cells[t.name] for r in found.rows if r.cells[t.name].value is not None] for t in found.tasks}
    known = sorted(cell.folder for column in cells.values() for cell in column)
    if path.exists() and json.loads(path.read_text(encoding="utf-8"))["results"] == known:
        return
    metrics = {t.name: t.metric for t in found.tasks}
    tests = [
        (task, a.folder, b.folder, p)
        for task, column in cells.items()
        for a, b, p in _tests(column, metrics[task], output)
    ]
    adjusted = holm([p for *_, p in tests])
    told_apart = {(a, b): p <= ALPHA for (_, a, b, _), p in zip(tests, adjusted, strict=True)}
    tied = {}
    for task, column in cells.items():
        sign = -1 if metrics[task] in LOWER_IS_BETTER else 1
        best = max(column, key=lambda cell: sign * (cell.value or 0), default=None)
        for cell in column:
            apart = told_apart.get((cell.folder, best.folder)) or told_apart.get((best.folder, cell.folder))  # type: ignore[union-attr]
            tied[cell.folder] = not apart
    path.write_text(json.dumps({"results": known, "tests": len(tests), "alpha": ALPHA, "tied": tied}), encoding="utf-8")


def _tests(column: list[Cell], metric: str, output: Path) -> list[tuple[Cell, Cell, float]]:
    """p of every pair in a column; pairs on other images, or on one group, are left out."""
    read = [read_predictions(output / cell.folder, cell.split) for cell in column]
    found = []
    for (a, (one, classes)), (b, (other, their_classes)) in combinations(zip(column, read, strict=True), 2):
        if list(one.ids) != list(other.ids) or classes != their_classes:
            continue
        member, _ = members([group or None for group in one.groups], len(one.ids))
        if member.max() > 0:
            found.append((a, b, permutation(one.scores, other.scores, one.targets, classes, member, metric)[1]))
    return found
