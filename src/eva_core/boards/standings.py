"""What a board says: one row for each model and head, from finished results. Free of torch."""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from eva_core.boards.board import Board, Pair, Part, pairs
from eva_core.boards.rows import Cell, Column, Row, Standings
from eva_core.config.files import find_config, read_yaml, shipped
from eva_core.contracts.metric import read_metric
from eva_core.contracts.results import Results
from eva_core.errors import EvaError
from eva_core.files.file_names import below
from eva_core.files.sealed_records import read_record_or_nothing
from eva_core.results.holds import read_holds
from eva_core.results.nulls import not_beaten
from eva_core.results.record import REPORT, RESULTS, read_draws, read_results
from eva_core.statistics.ranking import ranks
from eva_core.task import Task, task_named

COMPARISONS = "comparisons.json"


@dataclass(frozen=True)
class _Entry:
    """A result as a board keeps it.

    Attributes:
        draws: Bootstrap values of its main metric, (draws,).
    """

    cell: Cell
    task: Column
    dataset_sha256: str
    card: dict[str, Any]
    draws: np.ndarray


class Scoreboard:
    """The results of a board, each read once; when a pair has ended, its own are read again, and no others.

    Attributes:
        pairs: As `eva_core.boards.board.pairs` gives them.
        sources: Where results of others came from, by their folder.
        conflicts: Those that contradict one that is shown, a line each.
    """

    def __init__(self, board: Board, output: Path) -> None:
        self.board, self.output = board, output
        self.pairs = pairs(board, output)
        self.sources: dict[Path, str] = {}
        self.conflicts: list[str] = []
        self._entries: dict[tuple[Pair, Part], _Entry | str | None] = {}
        for pair in self.pairs:
            self.update(pair)

    def update(self, pair: Pair) -> None:
        """Read the results of a pair."""
        for head in pair.heads:
            self._entries[pair, head] = _read(pair, head, self.output)

    def add(self, model: str, task: str, head: str, folder: Path, source: str) -> None:
        """Show a result of others: `folder`, below that of the board, has the name of its head."""
        part = Part(head, None)
        pair = Pair(model, task, {}, self.board.protocol, (part,), folder.parent)
        self._entries[pair, part] = _read(pair, part, self.output)
        self.sources[folder] = source

    def cells(self, task: str) -> dict[tuple[str, str], Cell]:
        """The scores of a task, by model and head."""
        return {
            (pair.model, head.name): entry.cell
            for (pair, head), entry in self._entries.items()
            if pair.task == task and isinstance(entry, _Entry)
        }

    def standings(self) -> Standings:
        """All of the board; what is missing, damaged or failed is said in its cell."""
        board = self.board
        tasks = {t.name: Column(t.name, counted=t.name not in board.average_without) for t in board.tasks}
        rows = {(m.name, h.name): Row(m.name, h.name, {}) for m in board.models for h in board.heads}
        draws: dict[str, np.ndarray] = {}
        data = self._data_of_each_task()
        for (pair, head), entry in self._entries.items():
            row = rows.setdefault((pair.model, head.name), Row(pair.model, head.name, {}))
            if not isinstance(entry, _Entry):
                row.cells[pair.task] = Cell(reason=entry)
                continue
            if entry.dataset_sha256 != data[pair.task]:
                reason = f"Made on other files than the rest of {pair.task}: delete {pair.folder}."
                row.cells[pair.task] = Cell(reason=reason)
                continue
            row.cells[pair.task], row.card = replace(entry.cell), entry.card
            tasks[pair.task] = replace(entry.task, counted=tasks[pair.task].counted)
            source = self.sources.get(pair.result(head), "")
            row.cells[pair.task].source, row.cells[pair.task].verified = source, True if source else None
            draws[entry.cell.folder] = entry.draws
        pending = sum(
            cell.value is None and cell.reason is None for row in rows.values() for cell in row.cells.values()
        )
        for row in rows.values():
            row.cells = {name: row.cells.get(name, Cell()) for name in tasks}
        complete = _summarise(list(rows.values()), list(tasks.values()), draws)
        for row in complete:
            row.published = _published_average(board.name, row, [t for t in tasks.values() if t.counted])
        tested = _mark_tied(rows, self.output)
        ordered = sorted(rows.values(), key=lambda r: (r not in complete, *_standing(r), r.model, r.head))
        protocol = str(read_yaml(find_config(board.protocol, "protocols")).get("name", board.protocol))
        columns, said = list(tasks.values()), [*self.conflicts]
        return Standings(board.name, board.title, protocol, columns, ordered, pending, tested, said)

    def _data_of_each_task(self) -> dict[str, str]:
        """The fingerprint of the data that most results of a task were made on: others do not compare with them."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for (pair, _), entry in self._entries.items():
            if isinstance(entry, _Entry):
                counts[pair.task][entry.dataset_sha256] += 1
        return {task: count.most_common(1)[0][0] for task, count in counts.items()}


def standings(board: Board, output: Path) -> Standings:
    """Read every finished result of a board; what is missing or failed is said in its cell."""
    return Scoreboard(board, output).standings()


def _read(pair: Pair, head: Part, output: Path) -> _Entry | str | None:
    """Read what a board keeps of a result; the reason where there is none; None where it was not tried yet."""
    folder = pair.result(head)
    if not (folder / RESULTS).exists():
        return pair.failure
    try:
        content = read_results(folder)
        draws = read_draws(folder, content)
        name = content["identity"]["head"] if head.config is None else head.name
        main = content["main"]
        cell = _cell(pair, name, content, folder.relative_to(output).as_posix())
        if (folder / REPORT).is_file():
            cell.report = f"{cell.folder}/{REPORT}"
        cell.holds = read_holds(folder, content)
        task = Column(
            pair.task, content["task"], main["metric"], read_metric(main), main["split"], content["synthetic"]
        )
        return _Entry(cell, task, content["identity"]["dataset_sha256"], content["card"], draws)
    except EvaError as error:
        return pair.failure or str(error)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return pair.failure or f"{folder / RESULTS} lacks what a board shows ({type(error).__name__}: {error})."


def _cell(pair: Pair, head: str, content: Results, folder: str) -> Cell:
    main, identity, confounds = content["main"], content["identity"], content["confounds"]
    split = content["splits"][main["split"]]
    published = _published(pair.model, content, main["split"])
    same = published.get(identity["protocol"])
    other = next(iter(published.items()), (None, None))
    checks = [
        (name, mean, value)
        for name, record in content["splits"].items()
        if (mean := record["metrics"][main["metric"]]["mean"]) is not None
        and (value := _published(pair.model, content, name).get(identity["protocol"])) is not None
    ]
    kind = _kind(content["task"])
    extras = {} if kind is None else {name: split["metrics"][name]["mean"] for name in kind.beside(content)}
    pictures = [] if kind is None else kind.pictures(content)
    return Cell(
        head=head,
        remark="" if kind is None else kind.remark(content),
        nulls=not_beaten(content),
        value=main["mean"],
        std=main["std"],
        ci95=main["ci95"],
        split=main["split"],
        n=split["n"],
        n_groups=split["n_groups"],
        interval=split["interval"],
        selection=content["selection"],
        protocol=identity["protocol"],
        published=same if same is not None else other[1],
        published_protocol=identity["protocol"] if same is not None else other[0] or "",
        delta=None if same is None or main["mean"] is None else main["mean"] - same,
        checks=checks,
        headroom=_headroom(content),
        contamination=content["contamination"],
        mpp=content["mpp"]["reached"],
        robustness=None if confounds is None else confounds["robustness_index"],
        cost=content["cost"],
        extras={name: value for name, value in extras.items() if value is not None},
        pictures=[{**p, "file": below(Path(folder), p["file"]).as_posix()} for p in pictures],
        folder=folder,
        key=content["key"],
        dataset_sha256=identity["dataset_sha256"],
    )


def _published(model: str, content: Results, split: str) -> dict[str, float]:
    return published_values().get((model, content["identity"]["dataset"], split, content["main"]["metric"]), {})


def _headroom(content: Results) -> float | None:
    main, baseline = content["main"], next(iter(content["baselines"].values()), None)  # of colour, as the task has it
    if baseline is None or main["mean"] is None:
        return None
    colour = baseline["splits"][main["split"]]["metrics"][main["metric"]]["mean"]
    return None if colour is None else read_metric(main).gain(main["mean"], colour)


@cache
def published_values() -> dict[tuple[str, str, str, str], dict[str, float]]:
    """Published scores: (model, task, split, metric) -> value by protocol."""
    values: dict[tuple[str, str, str, str], dict[str, float]] = defaultdict(dict)
    with (shipped("leaderboard") / "published.csv").open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            key = (row["model"], row["task"], row["split"], row["metric"])
            values[key][row["protocol"]] = float(row["value"])
    return values


def _summarise(rows: list[Row], tasks: list[Column], drawn: Mapping[str, np.ndarray]) -> list[Row]:
    """Set averages, headroom and ranks over the counted tasks in the rows that have them all; returns those rows.

    Args:
        rows: All rows of the board.
        tasks: All tasks of the board.
        drawn: Bootstrap values of the main metric of each result, by its folder.
    """
    counted = [task for task in tasks if task.counted]
    complete = [row for row in rows if counted and all(row.cells[t.name].value is not None for t in counted)]
    for row in rows:
        seconds = [cell.cost.get("embed_s", 0) for cell in row.cells.values() if cell.cost]
        row.embed_s = sum(seconds) if seconds else None
    for row in complete:
        cells = [row.cells[t.name] for t in counted]
        if _averageable(counted):
            row.average = float(np.mean([c.value for c in cells if c.value is not None]))
        gains = [c.headroom for c in cells]
        row.headroom = float(np.mean([g for g in gains if g is not None])) if None not in gains else None
    if len(complete) > 1:
        signs = np.array([float(t.metric.sign) for t in counted])
        values = np.array([[row.cells[t.name].value for t in counted] for row in complete], float) * signs
        draws = np.stack([np.stack([drawn[r.cells[t.name].folder] for t in counted]) for r in complete])
        for row, rank in zip(complete, ranks(values, draws * signs[:, None]), strict=True):
            row.rank = None if rank.ci95 is None else (rank.mean, *rank.ci95)
    return complete


def _averageable(counted: list[Column]) -> bool:
    """Whether a mean over tasks has a sense: all from 0 to 1, or all of one metric that ends, as a correlation does."""
    bounds = {task.metric.bounds for task in counted}
    one = len({task.metric_name for task in counted}) == 1 and len(bounds) == 1 and all(map(math.isfinite, *bounds))
    return all(task.metric.higher_is_better for task in counted) and (bounds == {(0, 1)} or one)


def _published_average(board: str, row: Row, counted: list[Column]) -> float | None:
    """The published mean over all tasks of a board, which stands as the task `BOARD_average_TASKS`."""
    same = {(row.cells[t.name].split, t.metric_name, row.cells[t.name].protocol) for t in counted}
    if row.average is None or len(same) != 1:
        return None
    (split, metric, protocol) = same.pop()
    name = f"{board}_average_{len(counted)}"
    return published_values().get((row.model, name, split, metric), {}).get(protocol)


def _standing(row: Row) -> tuple[float, float]:
    """Sort key of a row: the average where there is one, else the rank."""
    return -(row.average or 0), row.rank[0] if row.average is None and row.rank is not None else 0


def _kind(name: str) -> Task | None:
    """The kind of task of a result; None where its plugin is not installed here."""
    try:
        return task_named(name)
    except EvaError:
        return None


def _mark_tied(rows: dict[tuple[str, str], Row], output: Path) -> bool:
    """Mark the cells that no test tells from the best of their task; returns whether the tests are of these results."""
    cells = [cell for row in rows.values() for cell in row.cells.values() if cell.value is not None]
    tests = read_record_or_nothing(output / COMPARISONS)
    if tests.get("keys") != {cell.folder: cell.key for cell in cells}:
        return False
    for cell in cells:
        cell.tied = tests["tied"].get(cell.folder)
    return True


def outside_tolerance(standings: Standings, tolerance: float) -> tuple[list[str], int]:
    """Results that miss the published value of the same protocol by more than `tolerance`; how many were checked."""
    lines, checked = [], 0
    for row in standings.rows:
        if row.published is not None and row.average is not None:
            checked += 1
            if abs(row.average - row.published) > tolerance:
                lines.append(
                    f"{row.model}, average, {row.head}: {row.average:.3f}, published {row.published:.3f} "
                    f"({row.average - row.published:+.3f}, tolerance {tolerance:.3f})"
                )
        for task, cell in row.cells.items():
            for split, value, published in cell.checks:
                checked += 1
                if abs(value - published) > tolerance:
                    lines.append(
                        f"{row.model} on {task} {split}, {row.head}: {value:.3f}, published {published:.3f} "
                        f"({value - published:+.3f}, tolerance {tolerance:.3f})"
                    )
    return lines, checked
