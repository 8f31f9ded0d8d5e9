"""CoNSeP: nuclei of four kinds in colorectal tissue."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import EvaError
from eva_vision.datasets.masks import Annotation, MaskFiles, reading, to_classes, to_instances
from eva_vision.datasets.published_files import locate, refuse, scan
from eva_vision.images import readable_hash

PARTS = {"train": ("Train", 27), "val": ("Test", 14)}
"""Official folder and number of images; the official test is validated on, as published."""
CLASS_OF = np.array([0, 1, 2, 3, 3, 4, 4, 4], np.uint8)
"""Class by `type_map`: healthy and malignant epithelium are one; fibroblasts, muscle and endothelium another."""
_KEYS = ("type_map", "inst_map")


class Consep(MaskFiles):
    """CoNSeP: 41 images of 1000 x 1000 px, 24,319 nuclei, in the official folders.

    Source: https://warwick.ac.uk/fac/cross_fac/tia/data/hovernet
    """

    card = DatasetCard(
        name="consep",
        task="segmentation",
        classes=("background", "other", "inflammatory", "epithelial", "spindle"),
        mpp=0.25,
        metric="dice",
        background=0,
        citation="Graham et al. 2019, HoVer-Net: simultaneous segmentation and classification of nuclei in "
        "multi-tissue histology images, doi:10.1016/j.media.2019.101563",
        access="get CoNSeP.zip from https://warwick.ac.uk/fac/cross_fac/tia/data/hovernet and unpack it there",
    )

    def __init__(self, root: str) -> None:
        """Index the images by name. Patients are not published: each image is a group of its own.

        Args:
            root: The folder of `Train` and `Test`, or the one that holds it as `CoNSeP`.
        Raises:
            UsageError: Names images and label files that are missing, extra or empty.
        """
        folder = locate(root, "CoNSeP/Train", self.card).parent
        sizes = {
            f"{part}/{kind}/{name}": size
            for part, _ in PARTS.values()
            for kind, suffix in (("Images", ".png"), ("Labels", ".mat"))
            for name, size in scan(folder / part / kind, suffix).items()
        }
        stems = [(split, part, f"{part.lower()}_{i}") for split, (part, n) in PARTS.items() for i in range(1, n + 1)]
        expected = {f"{part}/{end}" for _, part, stem in stems for end in (f"Images/{stem}.png", f"Labels/{stem}.mat")}
        refuse(folder, sizes, missing=sorted(expected - sizes.keys()), extra=sorted(sizes.keys() - expected))
        self.samples = [
            Sample(
                id=stem,
                split=split,
                target=None,
                path=folder / part / "Images" / f"{stem}.png",
                bytes=sizes[f"{part}/Images/{stem}.png"],
                label_path=folder / part / "Labels" / f"{stem}.mat",
                group=stem,
            )
            for split, part, stem in stems
        ]

    @override
    def annotation(self, sample: Sample) -> Annotation:
        """Classes from `type_map`, objects from `inst_map`."""
        path = sample.label_path
        assert path is not None
        with reading(path, "a MATLAB file"):
            arrays = loadmat(path, variable_names=_KEYS)
        missing = [key for key in _KEYS if key not in arrays]
        if missing:
            raise EvaError(f"Expected {' and '.join(missing)} in {path}, but it lacks them. Get the file again.")
        return Annotation(
            to_classes(arrays["type_map"], CLASS_OF, path),
            to_instances(arrays["inst_map"], path),
        )

    @override
    def labels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the label file."""
        return None if sample.label_path is None else readable_hash(hashes[sample.label_path])
