"""SegPath: tissue of many organs, whose classes were stained on the same section."""

import csv
import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import EvaError
from eva_vision.datasets.masks import Annotation, MaskFiles, read_labels, reading, to_classes
from eva_vision.datasets.published_files import check_counts, locate, refuse, repeated, scan, tell_crossing
from eva_vision.images import readable_hash

IMAGE, MASK = "_HE.png", "_mask.png"
COLUMNS = ("filename", "train_val_test")
_NAME = re.compile(r"[^_/]+_[^_/]+_(\d+)_\d+_\d+_HE\.png")
"""Antigen, cell type, slide, x and y, as https://dakomura.github.io/SegPath names the files."""


_CITATION = (
    "Komura et al. 2023, Restaining-based annotation for cancer histology segmentation, "
    "doi:10.1016/j.patter.2023.100688"
)


class _SegPath(MaskFiles):
    """The patches of one antigen, split as `*_fileinfo.csv` says."""

    archive: ClassVar[str]
    counts: ClassVar[dict[str, int]]

    def __init__(self, root: str) -> None:
        """Index the patches of the official list; the slide is in their names.

        Args:
            root: The folder of `*_fileinfo.csv` and of the unpacked archive.
        Raises:
            UsageError: Names patches or masks that are missing, extra, misnamed or listed twice, or says how many miss.
            EvaError: The list does not read, or lacks its columns.
        """
        folder = locate(root, self.archive, self.card)
        listed = _listed(folder.with_name(f"{self.archive.partition('_')[0]}_fileinfo.csv"))
        names = [name for name, _ in listed]
        sizes = scan(folder, ".png")
        images = [name for name in sizes if name.endswith(IMAGE)]
        named = {name: _NAME.fullmatch(name) for name in names}
        refuse(
            folder,
            sizes,
            missing=[file for name in names for file in (name, _mask(name)) if file not in sizes],
            extra=sorted(set(images) - named.keys()),
            misnamed=[name for name, parts in named.items() if parts is None],
            duplicate=repeated(names),
        )
        self.samples = [
            Sample(
                id=name,
                split=split,
                target=None,
                path=folder / name,
                bytes=sizes[name],
                label_path=folder / _mask(name),
                group=parts[1],
            )
            for name, split in listed
            if (parts := named[name]) is not None
        ]
        tell_crossing(self.samples, self.card)
        check_counts(folder, self.counts, self.samples, self.card)

    @override
    def annotation(self, sample: Sample) -> Annotation:
        """Classes are what the mask stores."""
        assert sample.label_path is not None
        table = np.arange(len(self.card.classes), dtype=np.uint8)
        return Annotation(to_classes(read_labels(sample.label_path), table, sample.label_path))

    @override
    def labels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the mask."""
        return None if sample.label_path is None else readable_hash(hashes[sample.label_path])


class SegPathEpithelial(_SegPath):
    """SegPath, epithelium (pan-cytokeratin): 26,509 patches of 984 px in the official split.

    Source: https://dakomura.github.io/SegPath and https://zenodo.org/records/7412731
    """

    archive = "panCK_Epithelium"
    card = DatasetCard(
        name="segpath_epithelial",
        task="segmentation",
        classes=("background", "epithelium"),
        mpp=0.22,
        metric="dice",
        background=0,
        citation=_CITATION,
        access="get panCK_fileinfo.csv and panCK_Epithelium.tar.gz from https://zenodo.org/records/7412731 and "
        "unpack the latter there",
    )
    counts: ClassVar[dict[str, int]] = {"train": 21_912, "val": 2_259, "test": 2_338}


class SegPathLymphocytes(_SegPath):
    """SegPath, lymphocytes (CD3 and CD20): 12,273 patches of 984 px in the official split.

    Source: https://dakomura.github.io/SegPath and https://zenodo.org/records/7412529
    """

    archive = "CD3CD20_Lymphocyte"
    card = DatasetCard(
        name="segpath_lymphocytes",
        task="segmentation",
        classes=("background", "lymphocyte"),
        mpp=0.22,
        metric="dice",
        background=0,
        citation=_CITATION,
        access="get CD3CD20_fileinfo.csv and CD3CD20_Lymphocyte.tar.gz from https://zenodo.org/records/7412529 and "
        "unpack the latter there",
    )
    counts: ClassVar[dict[str, int]] = {"train": 10_453, "val": 1_082, "test": 738}


def _mask(image: str) -> str:
    return image.removesuffix(IMAGE) + MASK


def _listed(file: Path) -> list[tuple[str, str]]:
    """Name and split of each image of the list, which may be packed under its plain name."""
    with reading(file, "a list of images"):
        with file.open("rb") as handle:
            packed = handle.read(2) == b"\x1f\x8b"
        with gzip.open(file, "rt", encoding="utf-8") if packed else file.open(encoding="utf-8", newline="") as text:
            table = csv.DictReader(text)
            if not set(COLUMNS) <= set(table.fieldnames or ()):
                raise EvaError(
                    f"Expected the columns {', '.join(COLUMNS)} in {file}, but got "
                    f"{', '.join(table.fieldnames or ()) or 'none'}. Get the file again."
                )
            rows = [(row["filename"] or "", row["train_val_test"] or "") for row in table]
    strange = sorted({split for _, split in rows} - {"train", "val", "test"})
    if strange:
        raise EvaError(f"Expected train, val or test for each image in {file}, but got {strange[0]!r}. Get it again.")
    return [(name.rpartition("/")[2], split) for name, split in rows if name.endswith(IMAGE)]
