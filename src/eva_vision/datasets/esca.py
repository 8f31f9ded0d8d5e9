"""ESCA: tissue of adenocarcinoma of the oesophagus, eleven classes from four sites."""

from pathlib import Path
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.evaluation.tcga import patient
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.class_folders import class_images
from eva_vision.datasets.published_files import check_counts, locate
from eva_vision.download import Remote, obtain

_RECORD = "https://zenodo.org/records/7548828"
SETS = {
    "VALSET1_UKK": ("val", "UKK"),
    "VALSET2_WNS": ("train", "WNS"),
    "VALSET3_TCGA": ("train", "TCGA"),
    "VALSET4_CHA_FULL": ("test", "CHA"),
}
"""Split and site of each published folder, as MICS-Lab/thunder @ 1c5939f has them."""


class Esca(ImageFiles):
    """ESCA: the sites WNS and TCGA train, UKK is val and CHA test, 256 px.

    Source: https://zenodo.org/records/7548828
    """

    card = DatasetCard(
        name="esca",
        classes=(
            "ADVENT",
            "LAM_PROP",
            "MUSC_MUC",
            "MUSC_PROP",
            "REGR_TU",
            "SH_MAG",
            "SH_OES",
            "SUB_GL",
            "SUBMUC",
            "TUMOR",
            "ULCUS",
        ),
        mpp=0.78,
        citation="doi:10.5281/zenodo.7548828; splits: Marza et al. 2025, THUNDER, arXiv:2507.07860",
        access=f"--dataset.download true, or unpack {', '.join(f'{name}.tar' for name in SETS)} from {_RECORD} there",
        collections=("TCGA",),
    )
    counts: ClassVar[dict[str, int]] = {"train": 154_438, "val": 34_704, "test": 178_187}
    # No checksum is known for certain: images are counted.
    remotes: ClassVar[tuple[Remote, ...]] = tuple(
        Remote(f"{_RECORD}/files/{name}.tar?download=1", name) for name in SETS
    )

    def __init__(self, root: str, download: bool = False) -> None:
        """Index the four folders, one listing per class.

        Args:
            root: The folder that holds the four.
            download: Fetch and unpack what is missing.
        Raises:
            UsageError: Names images outside the folders of the classes, or says how many are missing.
        """
        if download:
            obtain(self.card, self.remotes, Path(root).expanduser())
        self.samples = []
        for name, (split, site) in SETS.items():
            folder = locate(root, name, self.card)
            self.samples += [
                Sample(
                    id=f"{name}/{image.path}",
                    split=split,
                    target=image.target,
                    path=folder / image.path,
                    bytes=image.bytes,
                    group=patient(image.path),
                    site=site,
                )
                for image in class_images(folder, self.card.classes)
            ]
        check_counts(Path(root), self.counts, self.samples, self.card)
