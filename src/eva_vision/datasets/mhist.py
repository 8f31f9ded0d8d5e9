"""MHIST: colorectal polyps, sessile serrated adenoma against hyperplastic polyp."""

import random
from pathlib import Path
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError, some
from eva_core.files.tables import read_table
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.published_files import check_counts, locate, refuse, repeated, scan
from eva_vision.datasets.thunder_splits import DRAWN, SEED, Splits, as_thunder

SPLITS = {"train": "train", "test": "val"}  # the published test part is what eva-0.4 selects on and reports as val
_IMAGE, _LABEL, _PART = "Image Name", "Majority Vote Label", "Partition"


class Mhist(ImageFiles):
    """MHIST: 3,152 images of polyps, labelled by the majority of seven pathologists, 224 px.

    Source: https://bmirds.github.io/MHIST
    """

    card = DatasetCard(
        name="mhist",
        classes=("SSA", "HP"),
        mpp=2.0,
        licence="Dataset Research Use Agreement of its makers",
        citation="Wei et al. 2021, A Petri Dish for Histopathology Image Analysis, arXiv:2101.12355",
        access="ask for it at https://bmirds.github.io/MHIST, unpack images.zip and put annotations.csv beside images",
    )
    counts: ClassVar[dict[str, int]] = {"train": 2_175, "val": 977}
    thunder_counts: ClassVar[dict[str, int]] = {"train": 1_743, "val": 432, "test": 977}

    def __init__(self, root: str, splits: Splits = "eva") -> None:
        """Index the images that `annotations.csv` lists.

        Args:
            root: The folder of `annotations.csv` and `images`.
            splits: `eva`: train and val; `thunder`: those of THUNDER, whose test is this val.
        Raises:
            UsageError: Names images that are missing, not listed or listed twice, and labels that are unknown.
        """
        folder = locate(root, "images", self.card)
        table = folder.parent / "annotations.csv"
        rows = read_table(table, (_IMAGE, _LABEL, _PART)).rows
        for column, values in ((_LABEL, self.card.classes), (_PART, SPLITS)):
            unknown = sorted({row[column] for row in rows} - set(values))
            if unknown:
                raise UsageError(f"Expected {column} to be {' or '.join(values)} in {table}, but got {some(unknown)}.")
        sizes = scan(folder, ".png")
        names = [row[_IMAGE] for row in rows]
        refuse(
            folder,
            sizes,
            missing=[name for name in names if name not in sizes],
            extra=sorted(sizes.keys() - set(names)),
            duplicate=repeated(names),
        )
        self.samples = [
            Sample(
                id=row[_IMAGE],
                split=SPLITS[row[_PART]],
                target=self.card.classes.index(row[_LABEL]),
                path=folder / row[_IMAGE],
                bytes=sizes[row[_IMAGE]],
            )
            for row in sorted(rows, key=lambda row: row[_IMAGE])
        ]
        check_counts(Path(root), self.counts, self.samples, self.card)
        if splits == "thunder":
            stream = random.Random(SEED)  # a number for each row of train, in the order of the table
            val = {row[_IMAGE] for row in rows if row[_PART] == "train" and stream.random() < 0.2}
            self.samples = as_thunder(self.samples, val)
            check_counts(Path(root), self.thunder_counts, self.samples, self.card, DRAWN)
