"""TCGA-TILs: patches with and without tumour-infiltrating lymphocytes, of many kinds of cancer."""

from pathlib import PurePosixPath
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.evaluation.tcga import patient
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.published_files import check_counts, locate, look, refuse, tell_crossing
from eva_vision.images import is_image

_RECORD = "https://zenodo.org/records/6604094"
SPLITS = ("train", "val", "test")


class TcgaTils(ImageFiles):
    """TCGA-TILs: patches of 100 px in the official splits, which each cohort has.

    Source: https://zenodo.org/records/6604094
    """

    card = DatasetCard(
        name="tcga_tils",
        classes=("til-negative", "til-positive"),
        mpp=0.5,
        citation="Abousamra et al. 2022, Deep Learning-Based Mapping of Tumor Infiltrating Lymphocytes in Whole Slide "
        "Images of 23 Types of Cancer, doi:10.3389/fonc.2021.806603; data: doi:10.5281/zenodo.6604094",
        access=f"unpack TCGA-TILs.tar.gz from {_RECORD} there, and delete the links in it: "
        "find TCGA-TILs -type l -delete",
        collections=("TCGA",),
    )
    counts: ClassVar[dict[str, int]] = {"train": 209_221, "val": 38_601, "test": 56_275}

    def __init__(self, root: str) -> None:
        """Index the images of every cohort by folder.

        Args:
            root: The folder that holds `TCGA-TILs`, or a folder on the way to the cohorts.
        Raises:
            UsageError: Names images in other folders, or says how many are missing.
        """
        folder = locate(root, "TCGA-TILs/images-tcga-tils", self.card)
        # without further names of one file: the archive has links, which would count images twice
        sizes = {path: info.st_size for path, info in look(folder, is_image).files.items()}
        targets = {name: target for target, name in enumerate(self.card.classes)}
        self.samples, extra = [], []
        for path, size in sizes.items():
            parts = PurePosixPath(path).parts  # cohort, split, class, image
            if len(parts) != 4 or parts[1] not in SPLITS or parts[2] not in targets:
                extra.append(path)
                continue
            group = patient(parts[3])
            self.samples.append(Sample(path, parts[1], targets[parts[2]], folder / path, size, group=group))
        refuse(folder, sizes, extra=extra)
        tell_crossing(self.samples, self.card)
        check_counts(folder, self.counts, self.samples, self.card)
