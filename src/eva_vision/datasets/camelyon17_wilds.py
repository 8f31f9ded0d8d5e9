"""CAMELYON17-WILDS: lymph nodes with and without tumour, each split from hospitals of its own."""

from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError, some
from eva_core.files.tables import read_table
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.published_files import check_counts, locate, refuse, repeated, scan, tell_crossing

COLUMNS = ("patient", "node", "x_coord", "y_coord", "tumor", "center", "split")
HELD_OUT = {"1": "val", "2": "test"}
"""Hospitals that are no training data; p-lambda/wilds @ 3dfa2e6 sets their splits so, whatever the table says."""
SPLITS = {"0": "train", "1": None}
"""The column `split` of the other hospitals; 1 is validation on slides that are trained on, and left out."""


class Camelyon17Wilds(ImageFiles):
    """CAMELYON17-WILDS: patches of 96 px; three hospitals train, a fourth is val and a fifth test.

    Source: https://wilds.stanford.edu/datasets/#camelyon17
    """

    card = DatasetCard(
        name="camelyon17_wilds",
        classes=("normal", "tumor"),
        mpp=1.0,  # as THUNDER states
        licence="CC0 1.0",
        citation="Koh et al. 2021, WILDS: A Benchmark of in-the-Wild Distribution Shifts, arXiv:2012.07421; "
        "Bandi et al. 2018, From detection of individual metastases to classification of lymph node status at the "
        "patient level, IEEE Transactions on Medical Imaging",
        access="unpack camelyon17_v1.0 as its makers' package wilds does it, get_dataset('camelyon17', download=True): "
        "https://wilds.stanford.edu/get_started",
        collections=("CAMELYON17",),
    )
    counts: ClassVar[dict[str, int]] = {"train": 302_436, "val": 34_904, "test": 85_054}

    def __init__(self, root: str) -> None:
        """Index the patches that `metadata.csv` lists.

        Args:
            root: The folder `camelyon17_v1.0`, or the one that holds it.
        Raises:
            UsageError: Names patches that are missing, not listed or listed twice, and values that are unknown.
        """
        folder = locate(root, "camelyon17_v1.0/patches", self.card)
        table = folder.parent / "metadata.csv"
        rows = read_table(table, COLUMNS).rows
        for column, values in (("tumor", ("0", "1")), ("split", tuple(SPLITS))):
            unknown = sorted({row[column] for row in rows} - set(values))
            if unknown:
                raise UsageError(f"Expected {column} to be {' or '.join(values)} in {table}, but got {some(unknown)}.")
        names = [_name(row) for row in rows]
        sizes = scan(folder, ".png")
        listed = set(names)
        refuse(
            folder,
            sizes,
            missing=[name for name in names if name not in sizes],
            extra=[path for path in sizes if path not in listed],
            duplicate=repeated(names),
        )
        splits = [HELD_OUT.get(row["center"], SPLITS[row["split"]]) for row in rows]
        self.samples = [
            Sample(
                id=name,
                split=split,
                target=int(row["tumor"]),
                path=folder / name,
                bytes=sizes[name],
                group=f"patient_{row['patient']}",
                site=row["center"],
            )
            for name, row, split in zip(names, rows, splits, strict=True)
            if split is not None
        ]
        tell_crossing(self.samples, self.card)
        check_counts(folder, self.counts, self.samples, self.card)


def _name(row: dict[str, str]) -> str:
    """Where the patch of a row is below `patches`."""
    node = f"patient_{row['patient']}_node_{row['node']}"
    return f"{node}/patch_{node}_x_{row['x_coord']}_y_{row['y_coord']}.png"
