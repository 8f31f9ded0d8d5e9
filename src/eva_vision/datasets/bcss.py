"""BCSS: regions of tissue in breast cancer."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_vision.datasets.masks import Annotation, MaskFiles, read_labels, to_classes
from eva_vision.datasets.published_files import check_counts, locate, refuse, scan
from eva_vision.images import readable_hash

IMAGES, MASKS = "rgbs_colorNormalized", "masks"
CLASSES = ("outside_roi", "tumor", "stroma", "inflammatory", "necrosis", "other")
CODES = {"outside_roi": (0,), "tumor": (1, 19, 20), "stroma": (2,), "inflammatory": (3, 10, 11), "necrosis": (4,)}
"""Codes of `meta/gtruth_codes.tsv`, which ends at 21; those not listed are `other`."""
_CLASS = {code: CLASSES.index(name) for name, codes in CODES.items() for code in codes}
CLASS_OF = np.array([_CLASS.get(code, CLASSES.index("other")) for code in range(22)], np.uint8)
SITES = {"val": frozenset({"BH", "C8", "A8", "A1", "E9"}), "test": frozenset({"OL", "LL", "E2", "EW", "GM", "S3"})}
"""TCGA's tissue source sites, as kaiko-ai/eva @ 73b61a79 splits them; all others are train."""
_NAME = re.compile(r"(TCGA-(\w{2})-\w{4})-DX\d+_xmin\d+_ymin\d+_MPP-(\d+\.\d+)\.png")


class Bcss(MaskFiles):
    """BCSS: a large region of one slide of each of 151 patients, split by institute.

    Source: https://github.com/PathologyDataScience/BCSS
    """

    card = DatasetCard(
        name="bcss",
        task="segmentation",
        classes=CLASSES,
        mpp=0.25,
        metric="dice",
        background=0,
        licence="CC0 1.0",
        citation="Amgad et al. 2019, Structured crowdsourcing enables convolutional segmentation of histology images, "
        "doi:10.1093/bioinformatics/btz083",
        access="get rgbs_colorNormalized and masks, at 0.25 micrometres per pixel, as "
        "https://github.com/PathologyDataScience/BCSS tells, and put both there",
        collections=("TCGA",),
    )
    # Counted from the slides in roiBounds.csv of the source.
    counts: ClassVar[dict[str, int]] = {"train": 76, "val": 30, "test": 45}

    def __init__(self, root: str) -> None:
        """Index the images by name; patient, institute and micrometres per pixel are in it.

        Args:
            root: The folder of `rgbs_colorNormalized` and `masks`.
        Raises:
            UsageError: Names images that are misnamed or without mask, and masks without image, or says how many miss.
        """
        folder = locate(root, f"0_Public-data-Amgad2019_0.25MPP/{IMAGES}", self.card).parent
        sizes = {f"{kind}/{name}": n for kind in (IMAGES, MASKS) for name, n in scan(folder / kind, ".png").items()}
        images, masks = (
            [path.partition("/")[2] for path in sizes if path.startswith(kind)] for kind in (IMAGES, MASKS)
        )
        named = {name: _NAME.fullmatch(name) for name in images}
        refuse(
            folder,
            sizes,
            missing=[f"{MASKS}/{name}" for name in images if f"{MASKS}/{name}" not in sizes]
            + [f"{IMAGES}/{name}" for name in masks if name not in named],
            extra=[f"{IMAGES}/{name}" for name, parts in named.items() if parts is None],
        )
        self.samples = [
            Sample(
                id=name,
                split=next((split for split, sites in SITES.items() if parts[2] in sites), "train"),
                target=None,
                path=folder / IMAGES / name,
                bytes=sizes[f"{IMAGES}/{name}"],
                label_path=folder / MASKS / name,
                group=parts[1],
                site=parts[2],
                mpp=float(parts[3]),
            )
            for name, parts in named.items()
            if parts is not None
        ]
        check_counts(folder, self.counts, self.samples, self.card)

    @override
    def annotation(self, sample: Sample) -> Annotation:
        """Classes from the codes of the mask."""
        assert sample.label_path is not None
        return Annotation(to_classes(read_labels(sample.label_path), CLASS_OF, sample.label_path))

    @override
    def labels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the mask."""
        return None if sample.label_path is None else readable_hash(hashes[sample.label_path])
