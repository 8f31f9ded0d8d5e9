"""BRACS: regions of breast tissue of seven subtypes."""

import re
from pathlib import PurePosixPath
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.published_files import check_counts, locate, refuse, repeated, scan, tell_crossing

CLASSES = ("N", "PB", "UDH", "FEA", "ADH", "DCIS", "IC")
FOLDERS = {f"{i}_{name}": i for i, name in enumerate(CLASSES)}
_NAME = re.compile(r"(BRACS_\d+)_.+\.png")


class Bracs(ImageFiles):
    """The regions of interest of BRACS, of any size, in the official folders.

    Source: https://www.bracs.icar.cnr.it
    """

    card = DatasetCard(
        name="bracs",
        classes=CLASSES,
        mpp=0.25,
        licence="CC BY-NC 4.0",
        citation="Brancati et al. 2022, BRACS: a dataset for breast carcinoma subtyping in H&E histology images, "
        "doi:10.1093/database/baac093",
        access="register at https://www.bracs.icar.cnr.it/download and unpack BRACS_RoI there",
    )
    counts: ClassVar[dict[str, int]] = {"train": 3_657, "val": 312, "test": 570}

    def __init__(self, root: str) -> None:
        """Index the regions by folder and name; the slide is in the name.

        Args:
            root: The folder that holds `BRACS_RoI`, or a folder on the way to `train`, `val` and `test`.
        Raises:
            UsageError: Names regions in an unknown folder, misnamed or there twice, or says how many are missing.
        """
        folder = locate(root, "BRACS_RoI/latest_version", self.card)
        sizes = scan(folder, ".png")
        extra = []
        self.samples = []
        for path, size in sizes.items():
            split, _, below = path.partition("/")
            label, _, file = below.partition("/")
            name = _NAME.fullmatch(file)
            if split not in self.counts or label not in FOLDERS or name is None:
                extra.append(path)
                continue
            self.samples.append(Sample(path, split, FOLDERS[label], folder / path, size, group=name[1]))
        refuse(folder, sizes, extra=extra, duplicate=repeated(PurePosixPath(path).name for path in sizes))
        tell_crossing(self.samples, self.card)
        check_counts(folder, self.counts, self.samples, self.card)
