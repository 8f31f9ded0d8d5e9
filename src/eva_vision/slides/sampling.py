"""Settings of sampling, and the slides that they keep."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from eva_core.errors import UsageError, refuse, some
from eva_core.files.tables import read_table
from eva_core.progress import say
from eva_vision.slides.names import names_of, read_excluded, tcga
from eva_vision.slides.tissue_detection import SHARE

COARSER = 1.1
"""How much coarser than asked a slide may be: scanners at 40x have 0.22 to 0.275 micrometres per pixel."""


@dataclass(frozen=True)
class Sampling:
    """How patches are sampled from slides.

    Attributes:
        size: Side of a patch in pixels. For extended context, more than the crops that are trained on: 392 for 224.
        mpp: Micrometres per pixel of the magnifications; 0.25, 0.5, 1 and 2 are 40x, 20x, 10x and 5x.
        mpp_weights: How often each of them is drawn, in proportion; none: all alike.
        mpp_range: In place of `mpp`: least and greatest micrometres per pixel, drawn log-uniformly between.
        slides: How a slide is drawn: `uniform`, by `area` of tissue, or by a `column` of the table.
        table: CSV with the columns `slide` (its name, with or without folders and extension) and the one below.
        column: Weight of each slide in the table.
        tissue: Least share of a patch that is tissue, above 0.
        codes: TCGA kinds of slide that are kept (`DX`, `TS`, `BS`, `MS`); none: all, also those that are not from TCGA.
        exclude: File of patients or slides that are left out, one a line, such as those of evaluation tasks.
        fraction: Share of the slides that are used; a smaller one has a part of the slides of a larger one.
        distinct: Patches after which the same ones come again; none: never.
        per_window: Patches that are cut from one region: cheaper to read, but alike.
        window: Side of such a region in pixels.
    """

    size: int = 256
    mpp: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    mpp_weights: tuple[float, ...] | None = None
    mpp_range: tuple[float, float] | None = None
    slides: Literal["uniform", "area", "column"] = "uniform"
    table: str | None = None
    column: str = "weight"
    tissue: float = SHARE
    codes: tuple[str, ...] = ()
    exclude: str | None = None
    fraction: float = 1.0
    distinct: int | None = None
    per_window: int = 1
    window: int = 1024

    def __post_init__(self) -> None:
        weights = self.mpp_weights or ()
        low, high = self.mpp_range or (1, 1)
        refuse(
            (self.size < 1, "size to be at least 1", self.size),
            (not self.mpp or not _positive(self.mpp), "mpp above 0", self.mpp),
            (
                self.mpp_weights is not None
                and (len(weights) != len(self.mpp) or not all(0 <= w < math.inf for w in weights) or not sum(weights)),
                f"mpp_weights to be {len(self.mpp)} numbers of at least 0, one for each mpp",
                self.mpp_weights,
            ),
            (
                not _positive((low, high)) or low > high,
                "mpp_range to be two numbers above 0, the lesser first",
                self.mpp_range,
            ),
            ((self.slides == "column") != (self.table is not None), "a table where slides is column", self.table),
            (not 0 < self.tissue <= 1, "tissue above 0 and at most 1", self.tissue),
            (not 0 < self.fraction <= 1, "fraction above 0 and at most 1", self.fraction),
            (self.distinct is not None and self.distinct < 1, "distinct to be at least 1", self.distinct),
            (self.per_window < 1, "per_window to be at least 1", self.per_window),
            (self.window < 1, "window to be at least 1", self.window),
            (self.per_window > 1 and self.window < self.size, "window to be at least size", self.window),
            where="sampling",
        )


class Described(Protocol):
    """A slide as sampling needs to know it."""

    @property
    def name(self) -> str:
        """Path below the folder that was listed."""

    @property
    def mpp(self) -> float:
        """Micrometres per level-0 pixel."""

    @property
    def area(self) -> float:
        """Tissue in mm2."""


def choose(slides: Sequence[Described], sampling: Sampling, seed: int) -> list[int]:
    """Numbers of the slides that are sampled, ascending; says how many are not and why.

    Raises:
        UsageError: The list of exclusions does not read, or no slide is left.
    """
    finest = [slide.mpp / COARSER for slide in slides]
    numbers = list(range(len(slides)))
    excluded = read_excluded(sampling.exclude) if sampling.exclude is not None else None
    weights = sampling.mpp_weights or (1.0,) * len(sampling.mpp)
    magnifications = sampling.mpp_range or [
        mpp for mpp, weight in zip(sampling.mpp, weights, strict=True) if weight > 0
    ]
    greatest = max(magnifications)
    conditions: list[tuple[str, Callable[[int], bool]]] = [
        (f"are not {' or '.join(sampling.codes)}", lambda n: not sampling.codes or _code(slides[n]) in sampling.codes),
        (f"are excluded by {sampling.exclude}", lambda n: excluded is None or slides[n].name not in excluded),
        ("have no tissue", lambda n: slides[n].area > 0),
        (f"are coarser than {greatest:g} micrometres per pixel", lambda n: finest[n] <= greatest),
    ]
    for reason, keeps in conditions:
        before, numbers = numbers, [n for n in numbers if keeps(n)]
        if len(numbers) < len(before):
            dropped = set(before) - set(numbers)
            names = some((slides[n].name for n in sorted(dropped)), 3)
            say(f"{len(dropped)} of {len(slides)} slides {reason}: {names}.")
    if excluded is not None and len(excluded.used) < len(excluded.entries):
        unused = len(excluded.entries) - len(excluded.used)
        say(f"{unused} of {len(excluded.entries)} lines of {sampling.exclude} meet no slide.")
    for line, alike in excluded.shared.items() if excluded is not None else ():
        if len(alike) > 1:
            say(
                f"{line} in {sampling.exclude} is the name of {len(alike)} slides, all left out: {some(sorted(alike))}."
            )
    if not numbers:
        raise UsageError(
            "Expected a slide to sample from, but none is left. Loosen the sampling, or index other slides."
        )
    least = min(magnifications)
    coarse = sum(finest[n] > least for n in numbers)
    if coarse:
        say(f"{coarse} of {len(numbers)} slides are coarser than {least:g} micrometres per pixel: not sampled there.")
    count = max(1, round(sampling.fraction * len(numbers)))
    order = sorted(
        numbers, key=lambda n: hashlib.sha256(f"{seed} {slides[n].name}".encode(errors="surrogateescape")).digest()
    )
    return sorted(order[:count])


def _code(slide: Described) -> str | None:
    barcode = tcga(slide.name)
    return barcode[1] if barcode else None


def weigh(slides: Sequence[Described], sampling: Sampling) -> np.ndarray:
    """Weight of each slide, float (n,).

    Raises:
        UsageError: The table lacks a slide, or holds something else than numbers of at least 0.
    """
    if sampling.slides == "uniform":
        return np.ones(len(slides))
    if sampling.slides == "area":
        return np.array([slide.area for slide in slides])
    assert sampling.table is not None
    table = {
        row["slide"]: row[sampling.column]
        for row in read_table(Path(sampling.table).expanduser(), ("slide", sampling.column)).rows
    }
    rows = [next((name for name in names_of(slide.name) if name in table), None) for slide in slides]
    missing = [slide.name for slide, row in zip(slides, rows, strict=True) if row is None]
    if missing:
        raise UsageError(
            f"Expected every slide in {sampling.table}, but {len(missing)} are not: {some(missing)}. Add them."
        )
    shared = sorted({row for row, n in Counter(rows).items() if n > 1 and row is not None})
    if shared:
        raise UsageError(
            f"Expected a row for each slide in {sampling.table}, but several slides are called {some(shared)}. "
            "Write their folders too."
        )
    try:
        weights = np.array([float(table[row]) for row in rows if row is not None])
    except ValueError as error:
        raise UsageError(f"Expected numbers in column {sampling.column} of {sampling.table}, but {error}.") from error
    if not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise UsageError(
            f"Expected weights of at least 0, not all 0, in {sampling.table}, but got others. Correct them."
        )
    return weights


def _positive(values: Sequence[float]) -> bool:
    return all(0 < value < math.inf for value in values)
