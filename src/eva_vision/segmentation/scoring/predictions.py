"""The Dice of every image, and the table of it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from typing_extensions import override

from eva_core.errors import UsageError
from eva_core.results.predictions import identity_columns, read_split
from eva_core.statistics.intervals import Measure, members
from eva_core.statistics.permutation import permutation_of_means
from eva_core.task import Scores
from eva_vision.segmentation.metric_names import DICE
from eva_vision.segmentation.scoring import metrics

if TYPE_CHECKING:
    from eva_core.contracts.results import SplitRecord
    from eva_core.statistics.comparison import Difference
    from eva_core.statistics.intervals import Intervals

COUNTED = ("hits", "predicted", "target")
_OWN = b"eva"
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Counts:
    """What the metrics of masks are computed from.

    Attributes:
        pixels: Hits, predicted and in the target, by run and image, (R, N, 3, C).
        extras: Scores of objects by name, (R, N); empty where the dataset has none.
        background: The class that means leave out; None: every class counts.
        empty: `ignore` or `penalise`: what happens to a class that the target lacks.
    """

    pixels: np.ndarray
    extras: Mapping[str, np.ndarray]
    background: int | None
    empty: Any

    def measures(self, labels: Sequence[str]) -> list[Measure]:
        """Every metric under weights of the images, for each run."""
        return [
            partial(
                metrics.weighted,
                of_run,
                classes=labels,
                background=self.background,
                empty=self.empty,
                extra={name: values[run] for name, values in self.extras.items()},
            )
            for run, of_run in enumerate(self.pixels)
        ]

    def dice(self) -> tuple[np.ndarray, np.ndarray]:
        """Dice of every run and image, (R, N), and of every class, (R, N, C); NaN where undefined."""
        by_class = metrics.per_class(self.pixels, self.empty)[0]
        return metrics.over_classes(by_class, self.background), by_class


@dataclass(frozen=True)
class ImageDice(Scores):
    """The Dice of every image of one reported split, NaN where undefined.

    Attributes:
        ids: (N,).
        groups: Patient or slide of each image, empty where unknown, (N,).
        scores: Mean over the classes that count, of every run, (R, N).
        by_class: Dice of every class, (R, N, C).
        labels: Names of the classes.
        counts: What they and all metrics come from; None in files of before.
    """

    split: str
    ids: Sequence[str]
    groups: Sequence[str]
    scores: np.ndarray
    by_class: np.ndarray
    labels: Sequence[str] = ()
    counts: Counts | None = None

    @override
    def same_truth(self, other: "ImageDice") -> None:
        """Leave it open: masks are known by the hash of the data alone."""

    @override
    def compare(self, other: "ImageDice", metric: str) -> "Difference":
        """Compare with another model on the same images, by group."""
        from eva_core.statistics.comparison import paired_means

        return paired_means(self.scores, other.scores, self.known_groups)

    @override
    def test(self, other: "ImageDice", metric: str) -> tuple[float, float]:
        """Difference and p of the permutation test by group; NaN for a single group."""
        member, _ = members(self.known_groups, len(self.ids))
        return permutation_of_means(self.scores, other.scores, member) if member.max() > 0 else (math.nan, math.nan)

    @override
    def record(self, names: Sequence[str], last: "ImageDice | None" = None) -> "tuple[SplitRecord, Intervals]":
        """What results.json says of the split, from the pixel counts.

        Raises:
            UsageError: The file has none: it is of before.
        """
        from eva_core.statistics.summary import measured_record

        del names  # all are computed
        end = self if last is None else last
        if self.counts is None or end.counts is None:
            raise UsageError("Expected pixel counts beside the Dice of each image, but an older eva wrote it.")
        groups = self.known_groups if any(self.groups) else None
        of_selected, of_last = (of.measures(self.labels) for of in (self.counts, end.counts))
        return measured_record(of_selected, of_last, len(self.ids), groups)

    @override
    def contradictions(self) -> list[str]:
        """The Dice of an image that is not that of its counts."""
        if self.counts is None:
            return []
        lines = []
        for run, (stated, counted) in enumerate(
            zip(np.concatenate([self.scores[..., None], self.by_class], -1), _all_dice(self.counts), strict=True)
        ):
            wrong = ~np.isclose(stated, counted, rtol=0, atol=_ROUNDING, equal_nan=True)
            lines += [
                f"Expected Dice {counted[n, c]:.6g} of {self.ids[n]} in run {run}, as pixels count it, but found "
                f"{stated[n, c]:.6g}."
                for n, c in zip(*np.nonzero(wrong), strict=True)
            ]
        return lines


def _all_dice(counts: Counts) -> np.ndarray:
    """Mean Dice and that of each class, (R, N, 1 + C)."""
    mean, by_class = counts.dice()
    return np.concatenate([mean[..., None], by_class], -1)


def dice_table(parts: Sequence[ImageDice], classes: Sequence[str], runs: Sequence[int]) -> pa.Table:
    """One row per image and run: id, split, run, group, Dice and the Dice of each class, null where undefined.

    Then the pixels of each class that are hit, predicted and in the target, and the scores of objects; the metadata
    says how they are summed up.
    """
    tables = []
    for part in parts:
        for number_of_run, (run, dice, by_class) in enumerate(zip(runs, part.scores, part.by_class, strict=True)):
            columns = {**identity_columns(part, run), DICE: pa.array(dice, pa.float64(), from_pandas=True)}
            for number, name in enumerate(classes):
                columns[f"{DICE}_{name}"] = pa.array(by_class[:, number], pa.float64(), from_pandas=True)
            if part.counts is not None:
                columns |= _counted(part.counts, number_of_run, classes)
            tables.append(pa.table(columns))
    table = pa.concat_tables(tables)
    counts = parts[0].counts
    if counts is None:
        return table
    own = {"background": counts.background, "empty": counts.empty, "extras": list(counts.extras)}
    return table.replace_schema_metadata({_OWN: json.dumps(own)})


def _counted(counts: Counts, run: int, classes: Sequence[str]) -> dict[str, pa.Array]:
    columns = {
        f"{which}_{name}": pa.array(counts.pixels[run, :, row, number], pa.int64())
        for row, which in enumerate(COUNTED)
        for number, name in enumerate(classes)
    }
    extras = {name: pa.array(values[run], pa.float64(), from_pandas=True) for name, values in counts.extras.items()}
    return {**columns, **extras}


def read_dice(folder: Path, split: str) -> ImageDice:
    """The Dice of the images of one split of a finished segmentation.

    Raises:
        UsageError: The file is missing or damaged, or does not have the split.
    """
    table, ids, groups, runs = read_split(folder, split)
    names = [name for name in table.column_names if name.startswith(f"{DICE}_")]
    dice, *by_class = (table[name].to_numpy().reshape(runs, -1) for name in (DICE, *names))  # a null comes as NaN
    labels = [name.removeprefix(f"{DICE}_") for name in names]
    return ImageDice(split, ids, groups, dice, np.stack(by_class, axis=-1), labels, _read_counts(table, labels, runs))


def _read_counts(table: pa.Table, labels: Sequence[str], runs: int) -> Counts | None:
    own = json.loads((table.schema.metadata or {}).get(_OWN, b"null"))
    if own is None:
        return None

    def column(name: str) -> np.ndarray:
        values: np.ndarray = table[name].to_numpy().reshape(runs, -1)
        return values

    pixels = np.stack([np.stack([column(f"{which}_{name}") for name in labels], -1) for which in COUNTED], -2)
    return Counts(pixels, {name: column(name) for name in own["extras"]}, own["background"], own["empty"])
