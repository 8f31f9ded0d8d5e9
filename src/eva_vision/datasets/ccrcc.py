"""CCRCC: tissue of clear cell renal cell carcinoma, trained on TCGA and tested on Helsinki."""

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

_RECORD = "https://zenodo.org/records/7898308"


class Ccrcc(ImageFiles):
    """CCRCC: cancer, normal tissue and stroma of the kidney, 256 and 300 px, in the splits of THUNDER.

    Source: https://zenodo.org/records/7898308
    """

    card = DatasetCard(
        name="ccrcc",
        classes=("cancer", "normal", "stroma"),
        mpp=0.25,  # as THUNDER states; images are of two sizes, so it is about that
        citation="doi:10.5281/zenodo.7898308; splits: Marza et al. 2025, THUNDER, arXiv:2507.07860",
        access=f"--dataset.download true, or unpack tissue_classification.zip from {_RECORD} there",
        collections=("TCGA",),
    )
    counts: ClassVar[dict[str, int]] = {"train": 16_797, "val": 4_298, "test": 6_074}
    drawn: ClassVar[tuple[str, ...]] = DRAWN
    # No checksum is known for certain: the zip's own are checked, and images are counted.
    remotes: ClassVar[tuple[Remote, ...]] = (
        Remote(f"{_RECORD}/files/tissue_classification.zip?download=1", "tissue_classification"),
    )

    def __init__(self, root: str, download: bool = False) -> None:
        """Index the images by name: those of TCGA are train and val, the others test.

        Args:
            root: The folder `tissue_classification`, or the one that holds it.
            download: Fetch and unpack it where it is missing.
        Raises:
            UsageError: Names images outside the folders of the classes, or says how many are missing.
        """
        if download:
            obtain(self.card, self.remotes, Path(root).expanduser())
        folder = locate(root, "tissue_classification", self.card)
        images = [(image, patient(image.path)) for image in class_images(folder, self.card.classes)]
        refuse(folder, {}, misnamed=[image.path for image, group in images if group is None and "TCGA" in image.path])
        stream, val = random.Random(SEED), set()
        for target in range(len(self.card.classes)):  # a fifth of the patients of each class, so that some cross over
            patients = [group for image, group in images if image.target == target and group is not None]
            val |= {(target, group) for group in fifth(patients, stream)}
        self.samples = [
            Sample(
                id=image.path,
                split="test" if group is None else "val" if (image.target, group) in val else "train",
                target=image.target,
                path=folder / image.path,
                bytes=image.bytes,
                group=group,
                site="Helsinki" if group is None else "TCGA",
            )
            for image, group in images
        ]
        tell_crossing(self.samples, self.card)
        check_counts(folder, self.counts, self.samples, self.card, self.drawn)
