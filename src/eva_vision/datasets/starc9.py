"""STARC-9: nine tissues of colorectal cancer."""

from pathlib import Path
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.class_folders import class_images
from eva_vision.datasets.published_files import check_counts, locate

FOLDERS = {
    "train": "Training_data_normalized",
    "val": "Validation_data/STANFORD-CRC-HE-VAL-SMALL",
    "test": "Validation_data/STANFORD-CRC-HE-VAL-LARGE",
}
"""As MICS-Lab/thunder @ 1c5939f has them; the makers' third part, CURATED-TCGA, is in none."""


class Starc9(ImageFiles):
    """STARC-9: 702,000 patches of 256 px in the official folders.

    Source: https://huggingface.co/datasets/Path2AI/STARC-9
    """

    card = DatasetCard(
        name="starc9",
        classes=("ADI", "LYM", "MUC", "MUS", "NCS", "NOR", "BLD", "FCT", "TUM"),
        mpp=0.5,
        licence="CC BY 4.0",
        citation="Subramanian et al. 2025, STARC-9: A Large-scale Dataset for Multi-Class Tissue Classification for "
        "CRC Histopathology, arXiv:2511.00383",
        access="`hf download Path2AI/STARC-9 --repo-type dataset --local-dir ROOT`, and unpack every zip where it is; "
        "NORMALIZED in STANFORD-CRC-HE-VAL-LARGE-NORMALIZED.zip is STANFORD-CRC-HE-VAL-LARGE",
    )
    counts: ClassVar[dict[str, int]] = {"train": 630_000, "val": 18_000, "test": 54_000}

    def __init__(self, root: str) -> None:
        """Index the three folders, one listing per class. Patients are not published.

        Args:
            root: The folder that holds `Training_data_normalized` and `Validation_data`.
        Raises:
            UsageError: Names images outside the folders of the classes, or says how many are missing.
        """
        self.samples = []
        for split, name in FOLDERS.items():
            folder = locate(root, name, self.card)
            self.samples += [
                Sample(f"{folder.name}/{image.path}", split, image.target, folder / image.path, image.bytes)
                for image in class_images(folder, self.card.classes)
            ]
        check_counts(Path(root), self.counts, self.samples, self.card)
