"""Which rows of a board no test tells from the best of a task: permutation tests over all pairs, with Holm."""

from itertools import combinations
from math import isnan
from pathlib import Path

from eva_core.boards.standings import COMPARISONS, Cell, Standings
from eva_core.classification.metric_names import LOWER_IS_BETTER, SEGMENTATION
from eva_core.errors import EvaError
from eva_core.files.sealed_records import write_record
from eva_core.results.record import DICE, ImageDice, Predictions, read_dice, read_predictions
from eva_core.statistics.comparison import ALPHA, holm
from eva_core.statistics.intervals import members
from eva_core.statistics.permutation import permutation, permutation_of_means


def find_ties(found: Standings, output: Path) -> None:
    """Test every pair of rows on every task and leave `comparisons.json`."""
    path = output / COMPARISONS
    cells = {t.name: [r.cells[t.name] for r in found.rows if r.cells[t.name].value is not None] for t in found.tasks}
    keys = {cell.folder: cell.key for column in cells.values() for cell in column}
    metrics = {t.name: t.metric for t in found.tasks}
    tests = [
        (task, a.folder, b.folder, p)
        for task, column in cells.items()
        for a, b, p in _tests(column, metrics[task], output)
    ]
    adjusted = holm([p for *_, p in tests])
    apart = {frozenset((a, b)): p <= ALPHA for (_, a, b, _), p in zip(tests, adjusted, strict=True)}
    tied: dict[str, bool | None] = {}
    for task, column in cells.items():
        sign = -1 if metrics[task] in LOWER_IS_BETTER else 1
        best = max(column, key=lambda cell: sign * (cell.value or 0), default=Cell())
        for cell in column:
            told_apart = apart.get(frozenset((cell.folder, best.folder)))
            tied[cell.folder] = True if cell is best else None if told_apart is None else not told_apart
    write_record(path, {"keys": keys, "tests": len(tests), "alpha": ALPHA, "tied": tied})


def _tests(column: list[Cell], metric: str, output: Path) -> list[tuple[Cell, Cell, float]]:
    """p of every pair in a column; pairs on other images, on one group, or of damaged predictions are left out."""
    if metric in SEGMENTATION and metric != DICE:
        return []  # of single images only the Dice is kept
    read = [(cell, *scores) for cell in column if (scores := _scores(cell, metric, output)) is not None]
    found = []
    for (a, one, classes), (b, other, their_classes) in combinations(read, 2):
        if list(one.ids) != list(other.ids) or classes != their_classes:
            continue
        member, _ = members([group or None for group in one.groups], len(one.ids))
        if member.max() > 0:
            if isinstance(one, ImageDice) or isinstance(other, ImageDice):
                difference, p = permutation_of_means(one.scores, other.scores, member)
            else:
                difference, p = permutation(
                    one.ordered(metric), other.ordered(metric), one.targets, classes, member, metric
                )
            if not isnan(difference):
                found.append((a, b, p))
    return found


def _scores(cell: Cell, metric: str, output: Path) -> tuple[Predictions | ImageDice, list[str]] | None:
    try:
        return (read_dice if metric == DICE else read_predictions)(output / cell.folder, cell.split)
    except EvaError:  # `eva leaderboard` makes such a result again
        return None
