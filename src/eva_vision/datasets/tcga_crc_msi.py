"""TCGA-CRC-MSI: microsatellite instability from patches of colorectal cancer."""

import random
from pathlib import Path
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.evaluation.tcga import patient
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.class_folders import class_images, fifth
from eva_vision.datasets.published_files import check_counts, locate, refuse, tell_crossing
from eva_vision.datasets.thunder_splits import DRAWN, SEED
from eva_vision.download import Remote, obtain

_RECORD = "https://zenodo.org/records/3832231"


class TcgaCrcMsi(ImageFiles):
    """TCGA-CRC-MSI: tumour patches of 512 px; every patch has the label of its patient.

    Source: https://zenodo.org/records/3832231
    """

    card = DatasetCard(
        name="tcga_crc_msi",
        classes=("nonMSIH", "MSIH"),
        mpp=0.5,
        citation="Kather 2020, doi:10.5281/zenodo.3832231; splits: Marza et al. 2025, THUNDER, arXiv:2507.07860",
        access=f"--dataset.download true, or unpack TRAIN.zip and TEST.zip from {_RECORD} there",
        collections=("TCGA",),
    )
    counts: ClassVar[dict[str, int]] = {"train": 14_762, "val": 4_795, "test": 32_361}
    drawn: ClassVar[tuple[str, ...]] = DRAWN
    # No checksum is known for certain: the zips' own are checked, and images are counted.
    remotes: ClassVar[tuple[Remote, ...]] = tuple(
        Remote(f"{_RECORD}/files/{name}.zip?download=1", name) for name in ("TRAIN", "TEST")
    )

    def __init__(self, root: str, download: bool = False) -> None:
        """Index the images by name; a fifth of the patients of `TRAIN` is val.

        Args:
            root: The folder that holds `TRAIN` and `TEST`.
            download: Fetch and unpack what is missing.
        Raises:
            UsageError: Names images outside the folders of the classes or without a patient in their name, or says how
                many are missing.
        """
        if download:
            obtain(self.card, self.remotes, Path(root).expanduser())
        self.samples = []
        for name in ("TRAIN", "TEST"):
            folder = locate(root, name, self.card)
            images = [(image, patient(image.path)) for image in class_images(folder, self.card.classes)]
            refuse(folder, {}, extra=[image.path for image, group in images if group is None])
            val = fifth([group for _, group in images if group is not None], random.Random(SEED))
            self.samples += [
                Sample(
                    id=f"{name}/{image.path}",
                    split="test" if name == "TEST" else "val" if group in val else "train",
                    target=image.target,
                    path=folder / image.path,
                    bytes=image.bytes,
                    group=group,
                )
                for image, group in images
            ]
        tell_crossing(self.samples, self.card)
        check_counts(Path(root), self.counts, self.samples, self.card, self.drawn)
