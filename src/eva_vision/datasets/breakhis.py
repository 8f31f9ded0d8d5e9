"""BreakHis: breast tumours of four types, the images of the smallest magnification."""

import re
from pathlib import Path, PurePosixPath
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.published_files import check_counts, locate, refuse, repeated, scan
from eva_vision.datasets.thunder_splits import DRAWN, Splits, as_thunder
from eva_vision.download import Remote, obtain

VAL_PATIENTS = frozenset(
    {"18842D", "19979", "15275", "15792", "16875", "3909", "5287"}
    | {"16716", "2773", "5695", "16184CD", "23060CD", "21998CD", "21998EF"}
)
"""The split of kaiko-ai/eva @ 73b61a79; all others are train."""
THUNDER_VAL_PATIENTS = frozenset(
    {"23222AB", "13418DE", "11520", "19854C", "10926", "12312", "18842", "13412", "13200", "29960AB"}
)
"""Patients whom MICS-Lab/thunder @ 1c5939f takes from train to validate on."""
_NAME = re.compile(r"SOB_[BM]_([A-Z]+)-\d+-(\w+)-40-\d+\.png")


class BreakHis(ImageFiles):
    """BreakHis at "40X": the four tumour types with at least seven patients, 700 x 460 px.

    Source: https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis
    """

    card = DatasetCard(
        name="breakhis",
        classes=("TA", "MC", "F", "DC"),
        mpp=None,  # kaiko-eva says 0.25, but 40X is that of a 4x objective, about 0.5: doubtful
        licence="CC BY 4.0",
        citation="Spanhol et al. 2016, A Dataset for Breast Cancer Histopathological Image Classification, "
        "doi:10.1109/TBME.2015.2496264",
        access="--dataset.download true, or unpack http://www.inf.ufpr.br/vri/databases/BreaKHis_v1.tar.gz there",
    )
    counts: ClassVar[dict[str, int]] = {"train": 1_132, "val": 339}
    thunder_counts: ClassVar[dict[str, int]] = {"train": 936, "val": 196, "test": 339}
    # Plain http and no published checksum: gzip's own is checked, nothing but files is unpacked, images are counted.
    remotes: ClassVar[tuple[Remote, ...]] = (
        Remote("http://www.inf.ufpr.br/vri/databases/BreaKHis_v1.tar.gz", "BreaKHis_v1"),
    )

    def __init__(self, root: str, download: bool = False, splits: Splits = "eva") -> None:
        """Index the images of the four classes by name; class and patient are in it.

        Args:
            root: The folder `BreaKHis_v1`, or the one that holds it.
            download: Fetch and unpack it (4 GB) where it is missing.
            splits: `eva`: train and val; `thunder`: those of THUNDER, whose test is this val.
        Raises:
            UsageError: Names images that are misnamed or there twice, or says how many are missing.
        """
        if download:
            obtain(self.card, self.remotes, Path(root).expanduser())
        folder = locate(root, "BreaKHis_v1", self.card)
        sizes = {path: n for path, n in scan(folder, ".png").items() if PurePosixPath(path).parent.name == "40X"}
        named = {path: _NAME.fullmatch(PurePosixPath(path).name) for path in sizes}
        refuse(
            folder,
            sizes,
            extra=[path for path, name in named.items() if name is None],
            duplicate=repeated(PurePosixPath(path).name for path in sizes),
        )
        self.samples = [
            Sample(
                id=name[0],
                split="val" if name[2] in VAL_PATIENTS else "train",
                target=self.card.classes.index(name[1]),
                path=folder / path,
                bytes=sizes[path],
                group=name[2],
            )
            for path, name in sorted(named.items(), key=lambda item: PurePosixPath(item[0]).name)
            if name is not None and name[1] in self.card.classes
        ]
        check_counts(folder, self.counts, self.samples, self.card)
        if splits == "thunder":
            self.samples = as_thunder(self.samples, {s.id for s in self.samples if s.group in THUNDER_VAL_PATIENTS})
            check_counts(folder, self.thunder_counts, self.samples, self.card, DRAWN)
