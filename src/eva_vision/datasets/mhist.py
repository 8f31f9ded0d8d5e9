"""MHIST: colorectal polyps, sessile serrated adenoma against hyperplastic polyp; and how its pathologists voted."""

import random
from dataclasses import replace
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

_CARD = DatasetCard(
    name="mhist",
    classes=("SSA", "HP"),
    mpp=2.0,
    licence="Dataset Research Use Agreement of its makers",
    citation="Wei et al. 2021, A Petri Dish for Histopathology Image Analysis, arXiv:2101.12355",
    access="ask for it at https://bmirds.github.io/MHIST, unpack images.zip and put annotations.csv beside images",
)


class Mhist(ImageFiles):
    """MHIST: 3,152 images of polyps, labelled by the majority of seven pathologists, 224 px.

    Source: https://bmirds.github.io/MHIST
    """

    card = _CARD
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
        for column, values in ((_LABEL, Mhist.card.classes), (_PART, SPLITS)):
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
        self.samples: list[Sample] = [
            Sample(
                id=row[_IMAGE],
                split=SPLITS[row[_PART]],
                target=Mhist.card.classes.index(row[_LABEL]),
                path=folder / row[_IMAGE],
                bytes=sizes[row[_IMAGE]],
            )
            for row in sorted(rows, key=lambda row: row[_IMAGE])
        ]
        check_counts(Path(root), self.counts, self.samples, Mhist.card)
        if splits == "thunder":
            stream = random.Random(SEED)  # a number for each row of train, in the order of the table
            val = {row[_IMAGE] for row in rows if row[_PART] == "train" and stream.random() < 0.2}
            self.samples = as_thunder(self.samples, val)
            check_counts(Path(root), self.thunder_counts, self.samples, self.card, DRAWN)


_VOTES, VOTERS = "Number of Annotators who Selected SSA (Out of 7)", 7


class MhistVotes(Mhist):
    """MHIST by the votes of its seven pathologists: the share that found a sessile serrated adenoma, for each image.

    Source: https://bmirds.github.io/MHIST
    """

    card = replace(_CARD, name="mhist_votes", task="multilabel", classes=("SSA",), metric="auprc")

    def __init__(self, root: str) -> None:
        """Index the images that `annotations.csv` lists.

        Args:
            root: The folder of `annotations.csv` and `images`.
        Raises:
            UsageError: Names images that are missing, not listed or listed twice, and votes that are none.
        """
        super().__init__(root)
        table = locate(root, "images", self.card).parent / "annotations.csv"
        votes = {row[_IMAGE]: row[_VOTES] for row in read_table(table, (_IMAGE, _VOTES)).rows}
        wrong = sorted({text for text in votes.values() if not text.isdecimal() or int(text) > VOTERS})
        if wrong:
            raise UsageError(f"Expected {_VOTES} from 0 to {VOTERS} in {table}, but got {some(wrong)}.")
        self.samples = [replace(sample, target=(int(votes[sample.id]) / VOTERS,)) for sample in self.samples]
