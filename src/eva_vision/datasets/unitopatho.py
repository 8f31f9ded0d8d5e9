"""UniToPatho: colorectal polyps and grades of dysplasia, fields of 800 micrometres."""

from pathlib import PurePosixPath
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError, some
from eva_core.files.tables import read_table
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.published_files import check_counts, locate, refuse, repeated, scan, tell_crossing

TABLES = {"train": "train.csv", "val": "test.csv"}


class UniToPatho(ImageFiles):
    """The `800` part of UniToPatho: 8,669 images of 1812 px, split by the official tables.

    Source: https://github.com/EIDOSLAB/UNITOPATHO
    """

    card = DatasetCard(
        name="unitopatho",
        classes=("HP", "NORM", "TA.HG", "TA.LG", "TVA.HG", "TVA.LG"),
        mpp=0.4415,
        licence="CC BY 4.0",
        citation="Barbano et al. 2021, UniToPatho, doi:10.1109/ICIP42928.2021.9506198",
        access="with a free account from https://ieee-dataport.org/open-access/unitopatho; unpack its folder 800 there",
    )
    counts: ClassVar[dict[str, int]] = {"train": 6_270, "val": 2_399}

    def __init__(self, root: str) -> None:
        """Index the images that `train.csv` and `test.csv` list; the slide is in the name.

        Args:
            root: The folder `800`, or the one that holds it.
        Raises:
            UsageError: Names images that are missing, not listed or there twice, and labels that are unknown.
        """
        folder = locate(root, "800", self.card)
        rows = [
            (split, row["image_id"], row["top_label"])
            for split, table in TABLES.items()
            for row in read_table(folder / table, ("image_id", "top_label")).rows
        ]
        labels = {str(i): i for i in range(len(self.card.classes))}
        unknown = sorted({label for _, _, label in rows} - labels.keys())
        if unknown:
            raise UsageError(f"Expected top_label to be 0 to {len(labels) - 1} in {folder}, but got {some(unknown)}.")
        sizes = scan(folder, ".png")
        places = {PurePosixPath(path).name: path for path in sizes}
        names = [name for _, name, _ in rows]
        refuse(
            folder,
            sizes,
            missing=[name for name in names if name not in places],
            extra=sorted(places.keys() - set(names)),
            duplicate=repeated(names) + repeated(PurePosixPath(path).name for path in sizes),
        )
        self.samples = [
            Sample(
                id=name,
                split=split,
                target=labels[label],
                path=folder / places[name],
                bytes=sizes[places[name]],
                group=name.partition(".ndpi")[0],
            )
            for split, name, label in sorted(rows, key=lambda row: row[1])
        ]
        tell_crossing(self.samples, self.card)
        check_counts(folder, self.counts, self.samples, self.card)
