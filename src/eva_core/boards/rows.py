"""What a board shows: rows of cells, and columns. Free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eva_core.contracts.metric import Metric
from eva_core.contracts.results import Picture


@dataclass
class Cell:
    """A row on a task: a score, or the reason why there is none.

    Attributes:
        head: What stands behind the row here: the protocol's own where the board names no heads.
        remark: Why this score does not compare with right ones.
        nulls: Names of the nulls that it does not beat.
        published: The published value of this model, task and split, whatever its protocol.
        delta: value - published; None unless the protocol string is the same.
        checks: Every split with a published value under the same protocol string: (split, value, published).
        headroom: What is gained over colour alone, as a share of what could be.
        robustness: Robustness index, where samples carry a site.
        extras: What the task shows beside the main score.
        holds: Until where the score holds under changes of acquisition, by change.
        pictures: What the task shows of the result: `which` (best, median, worst), `id`, `score`, and `file` below the
            board's folder.
        tied: Not told apart from the best of the task by the permutation test after Holm; None where not tested.
        folder: Its result, below the board's folder.
        report: The page of that result, below the board's folder; empty where there is none.
        verified: Whether its numbers were made again from its predictions; None where nobody asked, or it can't be.
        wrong: What does not hold, where it was looked at.
        source: Where a result of others came from; empty for one of this board.
    """

    head: str = ""
    reason: str | None = None
    remark: str = ""
    nulls: list[str] = field(default_factory=list)
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
    checks: list[tuple[str, float, float]] = field(default_factory=list)
    headroom: float | None = None
    contamination: Mapping[str, Any] = field(default_factory=dict)
    mpp: float | None = None
    robustness: float | None = None
    cost: Mapping[str, Any] = field(default_factory=dict)
    extras: dict[str, float] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    tied: bool | None = None
    folder: str = ""
    report: str = ""
    key: str = ""
    dataset_sha256: str = ""
    verified: bool | None = None
    wrong: list[str] = field(default_factory=list)
    source: str = ""


@dataclass
class Row:
    """A model under a head.

    Attributes:
        average: Mean over the tasks of the average; None where one is missing.
        rank: Mean rank and its interval over the same tasks; None where one is missing.
        headroom: Mean over the same tasks.
        embed_s: Seconds for the embeddings of all tasks.
        published: The published value of the average, under the same protocol string; None where there is none.
    """

    model: str
    head: str
    cells: dict[str, Cell]
    card: dict[str, Any] = field(default_factory=dict)
    average: float | None = None
    rank: tuple[float, float, float] | None = None
    headroom: float | None = None
    embed_s: float | None = None
    published: float | None = None


@dataclass
class Column:
    """A task of the board.

    Attributes:
        kind: Its kind of task.
        metric_name: The main metric of its results.
        metric: Facts of the main metric.
        counted: Whether average and rank count it.
    """

    name: str
    kind: str = ""
    metric_name: str = ""
    metric: Metric = field(default_factory=Metric)
    split: str = ""
    synthetic: bool = False
    counted: bool = True


@dataclass
class Standings:
    """All of a board.

    Attributes:
        tested: Whether the tests are of these very results.
        conflicts: Results of others that contradict one that is shown, a line each.
    """

    name: str
    title: str
    protocol: str
    tasks: list[Column]
    rows: list[Row]
    pending: int
    tested: bool
    conflicts: list[str] = field(default_factory=list)
