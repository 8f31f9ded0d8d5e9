"""The Dice of every image, and the table of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from typing_extensions import override

from eva_core.results.predictions import identity_columns, read_split
from eva_core.statistics.intervals import members
from eva_core.statistics.permutation import permutation_of_means
from eva_core.task import Scores
from eva_vision.segmentation.metric_names import DICE

if TYPE_CHECKING:
    from eva_core.statistics.comparison import Difference


@dataclass(frozen=True)
class ImageDice(Scores):
    """The Dice of every image of one reported split, NaN where undefined.

    Attributes:
        ids: (N,).
        groups: Patient or slide of each image, empty where unknown, (N,).
        scores: Mean over the classes that count, of every run, (R, N).
        by_class: Dice of every class, (R, N, C).
        labels: Names of the classes.
    """

    split: str
    ids: Sequence[str]
    groups: Sequence[str]
    scores: np.ndarray
    by_class: np.ndarray
    labels: Sequence[str] = ()

    @override
    def same_truth(self, other: "ImageDice") -> None:
        """Leave it open: masks are known by the hash of the data alone."""

    @override
    def compare(self, other: "ImageDice", metric: str) -> "Difference":
        """Compare with another model on the same images, by group."""
        from eva_core.statistics.comparison import paired_means

        return paired_means(self.scores, other.scores, [group or None for group in self.groups])

    @override
    def test(self, other: "ImageDice", metric: str) -> tuple[float, float]:
        """Difference and p of the permutation test by group; NaN for a single group."""
        member, _ = members([group or None for group in self.groups], len(self.ids))
        return permutation_of_means(self.scores, other.scores, member) if member.max() > 0 else (math.nan, math.nan)


def dice_table(parts: Sequence[ImageDice], classes: Sequence[str], runs: Sequence[int]) -> pa.Table:
    """One row per image and run: id, split, run, group, Dice and the Dice of each class, null where undefined."""
    tables = []
    for part in parts:
        for run, dice, by_class in zip(runs, part.scores, part.by_class, strict=True):
            columns = {**identity_columns(part, run), DICE: pa.array(dice, pa.float64(), from_pandas=True)}
            for number, name in enumerate(classes):
                columns[f"{DICE}_{name}"] = pa.array(by_class[:, number], pa.float64(), from_pandas=True)
            tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def read_dice(folder: Path, split: str) -> ImageDice:
    """The Dice of the images of one split of a finished segmentation.

    Raises:
        UsageError: The file is missing or damaged, or does not have the split.
    """
    table, ids, groups, runs = read_split(folder, split)
    names = [name for name in table.column_names if name.startswith(f"{DICE}_")]
    dice, *by_class = (table[name].to_numpy().reshape(runs, -1) for name in (DICE, *names))  # a null comes as NaN
    labels = [name.removeprefix(f"{DICE}_") for name in names]
    return ImageDice(split, ids, groups, dice, np.stack(by_class, axis=-1), labels)
