"""Gleason patterns in prostate tissue microarrays."""

import re
from pathlib import Path, PurePosixPath
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.published_files import check_counts, locate, refuse, repeated, scan, tell_crossing

ARRAYS = {"ZT76": "val", "ZT111": "train", "ZT199": "train", "ZT204": "train"}
FOLDERS = ("train_validation_patches_750", "test_patches_750/patho_1")
_NAME = re.compile(r"((ZT\d+)_\w+)_patch_\d+_class_([0-3])\.jpg")


class Gleason(ImageFiles):
    """Patches of 750 px from tissue cores, split by microarray; test labels are those of the first pathologist.

    Source: https://doi.org/10.7910/DVN/OCYCMP, cut by https://github.com/eiriniar/gleason_CNN
    """

    card = DatasetCard(
        name="gleason",
        classes=("benign", "gleason_3", "gleason_4", "gleason_5"),
        ordinal=True,
        mpp=0.23,
        main_split="val",  # as published: kaiko-eva reports val, its test being unstable
        licence="CC0 1.0",
        citation="Arvaniti et al. 2018, Automated Gleason grading of prostate cancer tissue microarrays via deep "
        "learning, doi:10.1038/s41598-018-30535-1",
        access="unpack https://doi.org/10.7910/DVN/OCYCMP, then cut it with create_patches.py of "
        "https://github.com/eiriniar/gleason_CNN",
    )
    counts: ClassVar[dict[str, int]] = {"train": 15_303, "val": 2_482, "test": 4_967}

    def __init__(self, root: str) -> None:
        """Index the patches by name: array, core and class are in it.

        Args:
            root: The folder of `train_validation_patches_750` and `test_patches_750`.
        Raises:
            UsageError: Names patches that are misnamed, of a wrong array or there twice, or says how many are missing.
        """
        self.samples = []
        for place in FOLDERS:
            folder = locate(root, place, self.card)
            sizes = scan(folder, ".jpg")
            extra = []
            for path, size in sizes.items():
                name = _NAME.fullmatch(PurePosixPath(path).name)
                split = ARRAYS.get(name[2]) if name else None
                if name is None or (split is None) == (place == FOLDERS[0]):
                    extra.append(path)
                    continue
                self.samples.append(Sample(name[0], split or "test", int(name[3]), folder / path, size, group=name[1]))
            refuse(folder, sizes, extra=extra, duplicate=repeated(PurePosixPath(path).name for path in sizes))
        self.samples.sort(key=lambda sample: sample.id)
        tell_crossing(self.samples, self.card)
        check_counts(Path(root), self.counts, self.samples, self.card)
