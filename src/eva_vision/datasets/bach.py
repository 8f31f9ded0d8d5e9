"""BACH: breast microscopy images of four classes."""

from pathlib import Path
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.published_files import locate, refuse, scan
from eva_vision.datasets.thunder_splits import Splits, as_thunder
from eva_vision.download import Remote, obtain

PREFIX = {"Benign": "b", "InSitu": "is", "Invasive": "iv", "Normal": "n"}
PER_CLASS = 100
VAL = {
    "Benign": (range(42, 60), range(61, 91)),
    "InSitu": (range(40, 70),),
    "Invasive": (range(41, 59), range(61, 74)),
    "Normal": (range(46, 69),),
}
"""Numbers in the file names; the same images that kaiko-ai/eva @ 73b61a79 gives as positions in a listing."""
THUNDER_VAL = {
    "Benign": range(16, 26),
    "InSitu": range(11, 21),
    "Invasive": range(1, 11),
    "Normal": (*range(6, 16), *range(81, 91)),
}
"""Numbers of what MICS-Lab/thunder @ 1c5939f takes from train to validate on."""


class Bach(ImageFiles):
    """BACH (ICIAR 2018), part A: 400 microscopy images, split by patient.

    Source: https://zenodo.org/records/3632035
    """

    card = DatasetCard(
        name="bach",
        classes=tuple(PREFIX),
        mpp=0.42,
        licence="CC BY-NC-ND 4.0",
        citation="Aresta et al. 2019, BACH: grand challenge on breast cancer histology images, "
        "doi:10.1016/j.media.2019.05.010",
        access="--dataset.download true, or unpack ICIAR2018_BACH_Challenge.zip from "
        "https://zenodo.org/records/3632035 there",
    )
    # No published checksum is known for certain: the zip's own are checked, and then all 400 names.
    remotes: ClassVar[tuple[Remote, ...]] = (
        Remote(
            "https://zenodo.org/records/3632035/files/ICIAR2018_BACH_Challenge.zip?download=1",
            "ICIAR2018_BACH_Challenge",
        ),
    )

    def __init__(self, root: str, download: bool = False, splits: Splits = "eva") -> None:
        """Index the images by name.

        Args:
            root: The folder `ICIAR2018_BACH_Challenge`, or the one that holds it.
            download: Fetch and unpack it (10 GB) where it is missing.
            splits: `eva`: train and val; `thunder`: those of THUNDER, whose test is this val.
        Raises:
            UsageError: Names images that are missing, extra or empty.
        """
        if download:
            obtain(self.card, self.remotes, Path(root).expanduser())
        photos = locate(root, "ICIAR2018_BACH_Challenge/Photos", self.card)
        sizes = scan(photos, ".tif")
        expected = {f"{name}/{PREFIX[name]}{n:03d}.tif": (name, n) for name in PREFIX for n in range(1, PER_CLASS + 1)}
        refuse(
            photos, sizes, missing=sorted(expected.keys() - sizes.keys()), extra=sorted(sizes.keys() - expected.keys())
        )
        self.samples = [
            Sample(
                id=id,
                split="val" if any(n in numbers for numbers in VAL[name]) else "train",
                target=self.card.classes.index(name),
                path=photos / id,
                bytes=sizes[id],
            )
            for id, (name, n) in expected.items()
        ]
        if splits == "thunder":
            val = {id for id, (name, n) in expected.items() if n in THUNDER_VAL[name]}
            self.samples = as_thunder(self.samples, val)
