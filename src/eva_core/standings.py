"""What a board says: one row for each model and head, from finished results. Free of torch."""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from eva_core.board import Board, Pair, pairs
from eva_core.config_files import shipped
from eva_core.ranking import ranks
from eva_core.record import DRAWS, read_results

COMPARISONS = "comparisons.json"
LOWER_IS_BETTER = frozenset({"ece"})


@dataclass
class Cell:
    """A row on a task: a score, or the reason why there is none.

    Attributes:
        published: The published value of this model, task and split, whatever its protocol.
        delta: value - published; None unless the protocol string is the same.
        headroom: (model - colour) / (1 - colour): what is gained over six colour numbers, of what could be.
        tied: Not told apart from the best of the task by the permutation test after Holm; None where not tested.
    """

    reason: str | None = None
    value: float | None = None
    std: float | None = None
    ci95: list[float] | None = None
    split: str = ""
    n: int = 0
    n_groups: int | None = None
    interval: str = ""
    selection: str = ""
    protocol: str = ""
    published: float | None = None
    published_protocol: str = ""
    delta: float | None = None
    headroom: float | None = None
    contamination: dict[str, Any] = field(default_factory=dict)
    mpp: float | None = None
    cost: dict[str, float] = field(default_factory=dict)
    tied: bool | None = None
    folder: str = ""


@dataclass
class Row:
    """A model under a head.

    Attributes:
        average: Mean over the tasks of the average; None where one is missing.
        rank: Mean rank and its interval over the same tasks; None where one is missing.
        headroom: Mean over the same tasks.
    """

    model: str
    head: str
    cells: dict[str, Cell]
    card: dict[str, Any] = field(default_factory=dict)
    average: float | None = None
    rank: tuple[float, float, float] | None = None
    headroom: float | None = None
    gpu_s: float | None = None


@dataclass
class Task:
    """A column."""

    name: str
    metric: str = ""
    split: str = ""
    synthetic: bool = False
    counted: bool = True


@dataclass
class Standings:
    """All of a board."""

    name: str
    title: str
    protocol: str
    tasks: list[Task]
    rows: list[Row]
    pending: int


def standings(board: Board, output: Path) -> Standings:
    """Read every finished result of a board; what is missing or failed is said in its cell."""
    found = pairs(board, output)
    tasks = {t.name: Task(t.name, counted=t.name not in board.average_without) for t in board.tasks}
    rows = {(m.name, h.name): Row(m.name, h.name, {}) for m in board.models for h in board.heads}
    results: dict[tuple[str, str, str], Path] = {}
    for pair in found:
        for head in pair.heads:
            row, path = rows[pair.model, head.name], pair.result(head)
            cell, content = _cell(pair, path, output)
            row.cells[pair.task] = cell
            if content is None:
                continue
            results[pair.model, head.name, pair.task] = path
            row.card = content["card"]
            main = content["main"]
            tasks[pair.task] = Task(
                pair.task, main["metric"], main["split"], content["synthetic"], tasks[pair.task].counted
            )
    complete = _summarise(list(rows.values()), list(tasks.values()), results)
    _mark_ties(rows, output)
    ordered = sorted(rows.values(), key=lambda r: (r not in complete, -(r.average or 0), r.model, r.head))
    pending = sum(cell.value is None and cell.reason is None for row in ordered for cell in row.cells.values())
    return Standings(board.name, board.title, board.protocol, list(tasks.values()), ordered, pending)


def _cell(pair: Pair, path: Path, output: Path) -> tuple[Cell, dict[str, Any] | None]:
    if not (path / "results.json").exists():
        return Cell(reason=pair.failure), None
    content = read_results(path)
    main, identity = content["main"], content["identity"]
    split = content["splits"][main["split"]]
    published = published_values().get((pair.model, identity["dataset"], main["split"], main["metric"]), {})
    same = published.get(identity["protocol"])
    other = next(iter(published.items()), (None, None))
    baseline = content["baselines"].get("colour_stats")
    colour = baseline["splits"][main["split"]]["metrics"][main["metric"]]["mean"] if baseline else None
    return Cell(
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
        headroom=None if colour is None or colour >= 1 else (main["mean"] - colour) / (1 - colour),
        contamination=content["contamination"],
        mpp=content["mpp"]["reached"],
        cost=content["cost"],
        folder=str(path.relative_to(output)),
    ), content


@cache
def published_values() -> dict[tuple[str, str, str, str], dict[str, float]]:
    """Published scores: (model, task, split, metric) -> value by protocol."""
    values: dict[tuple[str, str, str, str], dict[str, float]] = defaultdict(dict)
    with (shipped("leaderboard") / "published.csv").open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            key = (row["model"], row["task"], row["split"], row["metric"])
            values[key][row["protocol"]] = float(row["value"])
    return values


def _summarise(rows: list[Row], tasks: list[Task], results: dict[tuple[str, str, str], Path]) -> list[Row]:
    """Averages, headroom and ranks over the counted tasks, of the rows that have them all; returns those rows."""
    counted = [task for task in tasks if task.counted]
    complete = [row for row in rows if counted and all(row.cells[t.name].value is not None for t in counted)]
    for row in rows:
        seconds = [cell.cost.get("embed_s", 0) for cell in row.cells.values() if cell.cost]
        row.gpu_s = sum(seconds) if seconds else None
    for row in complete:
        cells = [row.cells[t.name] for t in counted]
        row.average = float(np.mean([c.value for c in cells if c.value is not None]))
        gains = [c.headroom for c in cells]
        row.headroom = float(np.mean([g for g in gains if g is not None])) if None not in gains else None
    if len(complete) > 1:
        signs = np.array([-1.0 if t.metric in LOWER_IS_BETTER else 1.0 for t in counted])
        values = np.array([[row.cells[t.name].value for t in counted] for row in complete], float) * signs
        draws = np.stack(
            [np.stack([np.load(results[r.model, r.head, t.name] / DRAWS) for t in counted]) for r in complete]
        )
        for row, rank in zip(complete, ranks(values, draws * signs[:, None]), strict=True):
            row.rank = (rank.mean, *rank.ci95)
    return complete


def _mark_ties(rows: dict[tuple[str, str], Row], output: Path) -> None:
    """Mark the cells that no test tells from the best of their task, as `eva_core.ties` left them."""
    path = output / COMPARISONS
    tied = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for row in rows.values():
        for cell in row.cells.values():
            cell.tied = tied.get("tied", {}).get(cell.folder)


def outside_tolerance(found: Standings, tolerance: float) -> tuple[list[str], int]:
    """Results that miss the published value of the same protocol by more than `tolerance`; how many were checked."""
    lines, checked = [], 0
    for row in found.rows:
        for task, cell in row.cells.items():
            if cell.delta is None or cell.value is None:
                continue
            checked += 1
            if abs(cell.delta) > tolerance:
                lines.append(
                    f"{row.model} on {task}, {row.head}: {cell.value:.3f}, published {cell.published:.3f} "
                    f"({cell.delta:+.3f}, tolerance {tolerance:.3f})"
                )
    return lines, checked
