"""CRC: colorectal patches of nine tissues, with and without stain normalisation of the training images."""

import random
import re
from pathlib import Path
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.published_files import check_counts, locate, refuse, scan
from eva_vision.datasets.thunder_splits import SEED, Splits, as_thunder
from eva_vision.download import Remote, obtain

CLASSES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
_RECORD = "https://zenodo.org/records/1214456"
_CITATION = "Kather et al. 2019, Predicting survival from colorectal cancer histology slides using deep learning, "
_CITATION += "doi:10.1371/journal.pmed.1002730"


def _remote(folder: str, md5: str) -> Remote:
    return Remote(f"{_RECORD}/files/{folder}.zip?download=1", folder, f"md5:{md5}")


class Crc(ImageFiles):
    """NCT-CRC-HE-100K to train, CRC-VAL-HE-7K to validate, 224 px.

    Source: https://zenodo.org/records/1214456
    """

    card = DatasetCard(
        name="crc",
        classes=CLASSES,
        mpp=0.5,
        licence="CC BY 4.0",
        citation=_CITATION,
        access=f"--dataset.download true, or unpack NCT-CRC-HE-100K.zip and CRC-VAL-HE-7K.zip from {_RECORD} there",
    )
    folders: ClassVar[dict[str, str]] = {"train": "NCT-CRC-HE-100K", "val": "CRC-VAL-HE-7K"}
    counts: ClassVar[dict[str, int]] = {"train": 100_000, "val": 7_180}
    remotes: ClassVar[tuple[Remote, ...]] = (
        _remote("NCT-CRC-HE-100K", "6fd702d11df6292bc054397ae038a464"),
        _remote("CRC-VAL-HE-7K", "2fd1651b4f94ebd818ebf90ad2b6ce06"),
    )

    def __init__(self, root: str, download: bool = False, splits: Splits = "eva") -> None:
        """Index both folders, one listing per class.

        Args:
            root: The folder that holds both.
            download: Fetch and unpack (12.5 GB) what is missing.
            splits: `eva`: train and val; `thunder`: those of THUNDER, whose test is this val.
        Raises:
            UsageError: Names files that are no images of their class, or says how many are missing.
        """
        if download:
            obtain(self.card, self.remotes, Path(root).expanduser())
        self.samples = []
        for split, name in self.folders.items():
            folder = locate(root, name, self.card)
            sizes = scan(folder, ".tif")
            # A copy, or a file in the folder of another class, has another name than `CLASS/CLASS-LETTERS.tif`.
            extra = [path for path in sizes if not re.fullmatch(r"([A-Z]+)/\1-[A-Z-]+\.tif", path)]
            unknown = [path for path in sizes.keys() - set(extra) if path.partition("/")[0] not in CLASSES]
            refuse(folder, sizes, extra=extra + sorted(unknown))
            self.samples += [
                Sample(f"{name}/{path}", split, CLASSES.index(path.partition("/")[0]), folder / path, size)
                for path, size in sizes.items()
            ]
        check_counts(Path(root), self.counts, self.samples, self.card)
        if splits == "thunder":
            train = [s.id for s in self.samples if s.split == "train"]
            val = random.Random(SEED).sample(range(len(train)), int(0.2 * len(train)))
            self.samples = as_thunder(self.samples, {train[i] for i in val})


class CrcNonorm(Crc):
    """CRC with training images as they were scanned, NCT-CRC-HE-100K-NONORM; validated on the same 7K images.

    Source: https://zenodo.org/records/1214456
    """

    card = DatasetCard(
        name="crc_nonorm",
        classes=CLASSES,
        mpp=0.5,
        licence="CC BY 4.0",
        citation=_CITATION,
        access="--dataset.download true, or unpack NCT-CRC-HE-100K-NONORM.zip and CRC-VAL-HE-7K.zip from "
        f"{_RECORD} there",
    )
    folders: ClassVar[dict[str, str]] = {"train": "NCT-CRC-HE-100K-NONORM", "val": "CRC-VAL-HE-7K"}
    remotes: ClassVar[tuple[Remote, ...]] = (
        _remote("NCT-CRC-HE-100K-NONORM", "035777cf327776a71a05c95da6d6325f"),
        Crc.remotes[1],
    )
