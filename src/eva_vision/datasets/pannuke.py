"""PanNuke: nuclei of five kinds in nineteen kinds of tissue, in arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import EvaError, UsageError
from eva_vision.datasets.masks import Annotation, reading, to_instances
from eva_vision.datasets.published_files import check_counts
from eva_vision.images import readable_hash
from eva_vision.segmentation.contracts import SegmentationDataset

SPLITS = {"train": 1, "val": 2, "test": 3}
"""Official fold of each split, as MICS-Lab/thunder @ 6fe47e0 takes them."""
KINDS = ("neoplastic", "inflammatory", "connective", "dead", "epithelial")
"""In the order of the channels of the masks, of which a sixth is background."""


class Pannuke(SegmentationDataset):
    """PanNuke: 7,901 images of 256 px in the three official folds, one a split. Patients are not published.

    Where nuclei overlap the later kind counts. The arrays, of 4 and 8 GB, are read image by image.

    Source: https://warwick.ac.uk/fac/cross_fac/tia/data/pannuke
    """

    card = DatasetCard(
        name="pannuke",
        task="segmentation",
        classes=("background", *KINDS),
        mpp=0.25,
        metric="dice",
        background=0,
        licence="CC BY-NC-SA 4.0",
        citation="Gamper et al. 2020, PanNuke dataset extension, insights and baselines, arXiv:2003.10778",
        access="get fold_1.zip, fold_2.zip and fold_3.zip from https://warwick.ac.uk/fac/cross_fac/tia/data/pannuke "
        "and unpack them there",
        collections=("TCGA", "others"),
    )
    counts: ClassVar[dict[str, int]] = {"train": 2656, "val": 2523, "test": 2722}

    def __init__(self, root: str) -> None:
        """Index the images by fold and number.

        Args:
            root: The folder that holds `Fold 1`, `Fold 2` and `Fold 3`; their names may lack the space.
        Raises:
            UsageError: A file is missing or of another shape, or the number of images is not as published.
            EvaError: A file is no array, or cut short.
        """
        self._arrays: dict[Path, np.ndarray] = {}
        base = Path(root).expanduser()
        self.samples = []
        for split, fold in SPLITS.items():
            images, masks = (self._found(base, fold, kind) for kind in ("images", "masks"))
            shape, of_masks = self._array(images).shape, self._array(masks).shape
            for file, got, channels in ((images, shape, 3), (masks, of_masks, len(KINDS) + 1)):
                if len(got) != 4 or got[3] != channels or got[:3] != shape[:3]:
                    raise UsageError(
                        f"Expected an array (N, H, W, {channels}) in {file}, as long as its twin, but it is {got}. "
                        "Get both files again."
                    )
            self.samples += [
                Sample(
                    id=f"fold{fold}_{i:04d}",
                    split=split,
                    target=None,
                    path=images,
                    bytes=images.stat().st_size,
                    label_path=masks,
                )
                for i in range(shape[0])
            ]
        check_counts(base, self.counts, self.samples, self.card)

    @override
    def image(self, sample: Sample) -> np.ndarray:
        """The pixels of a sample: uint8 RGB, (H, W, 3).

        Raises:
            EvaError: The numbers are no colours of 8 bits.
        """
        assert sample.path is not None
        stored = self._stored(sample.path, sample)
        if not ((stored >= 0) & (stored <= 255)).all():
            raise EvaError(f"Expected colours from 0 to 255 in {sample.path}, image {_number(sample)}. Get it again.")
        return stored.astype(np.uint8)

    @override
    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the file of images, and the number of this one."""
        assert sample.path is not None
        return _part(hashes[sample.path], sample)

    @override
    def size(self, sample: Sample) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        assert sample.path is not None
        height, width = self._array(sample.path).shape[1:3]
        return height, width

    @override
    def mask(self, sample: Sample) -> np.ndarray:
        """The class of every pixel: uint8 (H, W), indices into the card's classes.

        Raises:
            EvaError: The numbers of objects are no whole numbers from 0.
        """
        return self._annotation(sample).classes

    @override
    def instances(self, sample: Sample) -> np.ndarray | None:
        """The number of the nucleus at every pixel, 0 for none: int32 (H, W).

        Raises:
            EvaError: The numbers of objects are no whole numbers from 0.
        """
        return self._annotation(sample).instances

    @override
    def labels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the file of masks, and the number of this one."""
        return None if sample.label_path is None else _part(hashes[sample.label_path], sample)

    def _annotation(self, sample: Sample) -> Annotation:
        """Classes and nuclei, those of each channel numbered on from those of the last."""
        assert sample.label_path is not None
        stored = self._stored(sample.label_path, sample)  # (H, W, 6)
        classes, instances = np.zeros(stored.shape[:2], np.uint8), np.zeros(stored.shape[:2], np.int32)
        above = 0
        for kind in range(1, len(KINDS) + 1):
            numbers = to_instances(stored[:, :, kind - 1], sample.label_path)
            classes[numbers > 0] = kind
            instances[numbers > 0] = numbers[numbers > 0] + above
            above += int(numbers.max())
        return Annotation(classes, instances)

    def _found(self, base: Path, fold: int, kind: str) -> Path:
        below = Path(kind) / f"fold{fold}" / f"{kind}.npy"
        places = [base / name / below for name in (f"Fold {fold}", f"Fold{fold}")]
        for place in places:
            if place.is_file():
                return place
        raise UsageError(
            f"Expected {places[0]}, but it is not there. Set --dataset.root. To get it: {self.card.access}."
        )

    def _array(self, file: Path) -> np.ndarray:
        """An array that stays in its file."""
        if file not in self._arrays:
            with reading(file, "an array"):
                self._arrays[file] = np.load(file, mmap_mode="r", allow_pickle=False)
        return self._arrays[file]

    def _stored(self, file: Path, sample: Sample) -> np.ndarray:
        with reading(file, "an array"):
            return np.array(self._array(file)[_number(sample)])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}}  # else whole arrays would travel to loader processes


def _number(sample: Sample) -> int:
    return int(sample.id.rpartition("_")[2])


def _part(hash_of_file: str, sample: Sample) -> str | None:
    known = readable_hash(hash_of_file)
    return None if known is None else f"{known} {_number(sample)}"
