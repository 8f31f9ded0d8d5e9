"""What a report is made of: parts that a kind of task fills and one page draws, with types. Plain JSON.

All of them have `kind`, `title` and `note`, a sentence below the title that says what is seen. Texts may come from
anybody: the page shows them as text. Pictures are `data:` addresses, as `eva_core.reports.thumbnails` makes them, and
empty where there is none.
"""

from typing import Literal, NotRequired, TypedDict


class _Part(TypedDict):
    title: str
    note: str


class Note(_Part):
    """A sentence alone: what is not here, and why."""

    kind: Literal["note"]


class TableSection(_Part):
    """A table; numbers are shown with three digits, and as bars from 0 to 1 in the columns that `bars` numbers."""

    kind: Literal["table"]
    columns: list[str]
    rows: list[list[str | float | None]]
    bars: NotRequired[list[int]]


class FactsSection(_Part):
    """Names and what they are."""

    kind: Literal["facts"]
    rows: list[tuple[str, str]]


class IntervalRow(TypedDict):
    """A value with its interval; `of` is `model` or `null`."""

    name: str
    of: Literal["model", "null"]
    value: float | None
    interval: list[float] | None


class IntervalsSection(_Part):
    """Values on one axis, and where chance lies on it."""

    kind: Literal["intervals"]
    rows: list[IntervalRow]
    chance: float | None


class MatrixSection(_Part):
    """Counts of truth (rows) by prediction (columns), (C, C)."""

    kind: Literal["matrix"]
    labels: list[str]
    counts: list[list[float]]


class Series(TypedDict):
    """A line through points; `marks` are places along x at which it has a short stroke."""

    name: str
    points: list[tuple[float, float]]
    marks: NotRequired[list[float]]


class Counts(TypedDict):
    """Numbers under the axis of x: at each place one for each line, (lines, places)."""

    name: str
    at: list[float]
    rows: list[list[int]]


class CurvesSection(_Part):
    """Lines over 0 to 1 on both axes with a diagonal, or over the `ranges` of x and of y.

    `step` keeps each value until the next point; `shares` are bars below the lines: where each is, and how high.
    """

    kind: Literal["curves"]
    x: str
    y: str
    series: list[Series]
    shares: NotRequired[list[tuple[float, float]]]
    ranges: NotRequired[tuple[tuple[float, float], tuple[float, float]]]
    step: NotRequired[bool]
    counts: NotRequired[Counts]


class HistogramSection(_Part):
    """How many values lie between neighbouring edges."""

    kind: Literal["histogram"]
    x: str
    edges: list[float]
    counts: list[int]


class ScatterSection(_Part):
    """Points on two axes of one scale, with the line on which both are equal, and the id of each."""

    kind: Literal["scatter"]
    x: str
    y: str
    points: list[tuple[float, float]]
    ids: list[str]


class Projection(TypedDict):
    """Places of the points of a map, whole numbers from 0 to 1000; `axes` names the two."""

    name: str
    axes: tuple[str, str]
    points: list[tuple[int, int]]


class Colouring(TypedDict):
    """A colour for each point: the number of its label; -1 has none."""

    name: str
    labels: list[str]
    values: list[int]


class Tiles(TypedDict):
    """One picture of square tiles, row after row, one for each point."""

    image: str
    side: int
    columns: int


class MapSection(_Part):
    """Points with colours, and a small picture of each under the pointer."""

    kind: Literal["map"]
    ids: list[str]
    projections: list[Projection]
    colourings: list[Colouring]
    tiles: Tiles | None


class Shown(TypedDict):
    """A picture with its caption."""

    image: str
    title: str
    lines: list[str]


class Item(Shown):
    """A picture with others beside it."""

    beside: list[Shown]


class GallerySection(_Part):
    """Small pictures, each with others beside it that explain it; `beside` names those."""

    kind: Literal["gallery"]
    beside: str
    items: list[Item]


class PicturesSection(_Part):
    """Pictures in full width."""

    kind: Literal["pictures"]
    items: list[Shown]


class CodeSection(_Part):
    """A command to copy."""

    kind: Literal["code"]
    text: str


Section = (
    Note
    | TableSection
    | FactsSection
    | IntervalsSection
    | MatrixSection
    | CurvesSection
    | HistogramSection
    | ScatterSection
    | MapSection
    | GallerySection
    | PicturesSection
    | CodeSection
)
