"""OCELOT: cancer area in six organs, regions of TCGA slides."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError
from eva_core.evaluation.tcga import patient
from eva_core.files.tables import read_text
from eva_vision.datasets.masks import Annotation, MaskFiles, read_labels, to_classes
from eva_vision.datasets.published_files import check_counts, locate, refuse, scan, tell_crossing
from eva_vision.images import readable_hash

SPLITS = ("train", "val", "test")
NOTES = "metadata.json"
CLASS_OF = np.array([0, 0, 1], np.uint8)
"""Class by label: 1 is background, 2 cancer area; 0, which no published mask has, is background to THUNDER."""
UNKNOWN = 255
"""The label of pixels that were not annotated."""


class Ocelot(MaskFiles):
    """OCELOT: 663 regions of tissue, 1024 px each, in the official split by slide. Its points of cells are not read.

    Source: https://lunit-io.github.io/research/ocelot_dataset and https://zenodo.org/records/8417503
    """

    card = DatasetCard(
        name="ocelot",
        task="segmentation",
        classes=("background", "cancer_area"),
        mpp=0.8,
        metric="dice",
        background=0,
        licence="CC BY-NC 4.0",
        citation="Ryu et al. 2023, OCELOT: overlapped cell on tissue dataset for histopathology, "
        "doi:10.1109/CVPR52729.2023.02289",
        access="get ocelot2023_v1.0.1.zip from https://zenodo.org/records/8417503 and unpack it there",
        collections=("TCGA",),
    )
    counts: ClassVar[dict[str, int]] = {"train": 400, "val": 137, "test": 126}

    def __init__(self, root: str) -> None:
        """Index the regions by number; slide and micrometres per pixel of each are in `metadata.json`.

        Args:
            root: The folder of `images`, `annotations` and `metadata.json`, or the one that holds it as
                `ocelot2023_v1.0.1`.
        Raises:
            UsageError: Names regions without mask or notes and masks without region, or says how many are missing.
        """
        folder = locate(root, "ocelot2023_v1.0.1/images", self.card).parent
        notes = _notes(folder / NOTES)
        self.samples = []
        for split in SPLITS:
            images, masks = folder / "images" / split / "tissue", folder / "annotations" / split / "tissue"
            sizes = {name.removesuffix(".jpg"): n for name, n in scan(images, ".jpg").items()}
            drawn = {name.removesuffix(".png"): n for name, n in scan(masks, ".png").items()}
            refuse(
                folder,
                {f"images/{split}/tissue/{number}.jpg": n for number, n in sizes.items()}
                | {f"annotations/{split}/tissue/{number}.png": n for number, n in drawn.items()},
                missing=[f"annotations/{split}/tissue/{number}.png" for number in sizes if number not in drawn]
                + [f"images/{split}/tissue/{number}.jpg" for number in drawn if number not in sizes]
                + [f"{number} in {NOTES}" for number in sizes if number not in notes],
            )
            for number, size in sizes.items():
                slide, mpp = notes[number]
                barcode = patient(slide)
                self.samples.append(
                    Sample(
                        id=number,
                        split=split,
                        target=None,
                        path=images / f"{number}.jpg",
                        bytes=size,
                        label_path=masks / f"{number}.png",
                        group=barcode or slide,
                        site=barcode and barcode[5:7],
                        mpp=mpp,
                    )
                )
        tell_crossing(self.samples, self.card)
        check_counts(folder, self.counts, self.samples, self.card)

    @override
    def annotation(self, sample: Sample) -> Annotation:
        """Classes from the labels of the mask."""
        assert sample.label_path is not None
        return Annotation(to_classes(read_labels(sample.label_path), CLASS_OF, sample.label_path, UNKNOWN))

    @override
    def labels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the mask."""
        return None if sample.label_path is None else readable_hash(hashes[sample.label_path])


def _notes(file: Path) -> dict[str, tuple[str, float]]:
    """Slide, and micrometres per pixel of the tissue, of each region by its number."""
    try:
        pairs = json.loads(read_text(file))["sample_pairs"]
        return {
            number: (str(pair["slide_name"]), float(pair["tissue"]["resized_mpp_x"])) for number, pair in pairs.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"Expected sample_pairs with slide_name and tissue.resized_mpp_x in {file}, but got {error!r}. "
            "Unpack it again."
        ) from error
