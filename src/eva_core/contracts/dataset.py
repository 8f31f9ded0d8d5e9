"""What a dataset promises: samples by name, their pixels, and what they are made of."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eva_core.contracts.cards import DatasetCard
from eva_core.errors import UsageError
from eva_core.files.file_hashes import file_hashes, whole
from eva_core.text import printable


@dataclass(frozen=True, slots=True)
class Sample:
    r"""One image of a dataset. Bytes of id, group or site that are not UTF-8 become escapes such as `\xfc`.

    Attributes:
        id: Unique within the dataset and stable between machines.
        split: `train`, `val` or `test`; `new` for images to predict on; `cv` where all are cross-validated, which some
            kinds of task do.
        target: Number of the class in the card, or what else the task learns, as a number or several; None where no
            label is known, or where a file holds it.
        path: Where the pixels are.
        bytes: Size of the image file, part of the dataset's fingerprint.
        group: Patient or slide; must not cross splits.
        label_path: Where the label is that a file holds; None where none is known.
    """

    id: str
    split: str
    target: Any
    path: Path | None = None
    bytes: int = 0
    group: str | None = None
    site: str | None = None
    mpp: float | None = None
    label_path: Path | None = None

    def __post_init__(self) -> None:
        for name in ("id", "group", "site"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise UsageError(f"Expected the {name} of a sample as text, but got {value!r}. Use str().")
            if value is not None and not value.isascii():
                object.__setattr__(self, name, printable(value))


class Dataset(ABC):
    """An index of samples and a way to read one image. Subclasses set `card` and `samples`."""

    card: DatasetCard
    samples: Sequence[Sample]

    @abstractmethod
    def image(self, sample: Sample) -> np.ndarray:
        """The pixels of a sample: uint8 RGB, (H, W, 3), any size."""

    def report(self, predictions: Sequence[Any]) -> dict[str, Any]:
        """What else this dataset has to say of a result, such as scores per slide; results.json holds it as `report`.

        Args:
            predictions: Predictions of each reported split, in the class of the task:
                `eva_core.classification.predictions.Predictions` for one of classes.
        """
        del predictions  # only what this dataset adds reads them
        return {}

    def files(self, sample: Sample) -> Sequence[Path]:
        """The files that a sample comes from: pixels and labels."""
        return [path for path in (sample.path, sample.label_path) if path is not None]

    def hashes(self) -> Mapping[Path, str]:
        """SHA-256 of the content of each file of the samples."""
        return file_hashes((path for s in self.samples for path in self.files(s)), self.card.name, whole)

    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """Say what decides `image(sample)`, whatever dataset it is in: equal text, equal pixels.

        Embeddings of the same pixels are taken from earlier stores. A class that reads images in a way of its own says
        it anew; until it does, embeddings are taken over for the very same dataset alone.

        Args:
            sample: One of `samples`.
            hashes: From `hashes()`.
        Returns:
            A text without the label and the split; None where it is not known.
        """
        del sample, hashes  # for classes that know what decides their pixels
        return None

    def fingerprint(self) -> str:
        """SHA-256 over the classes, all that is known of each sample, and the content of its files, in order."""
        hashes = self.hashes()
        digest = hashlib.sha256("\0".join((*self.card.classes, str(self.card.mpp))).encode())
        for s in self.samples:
            known = (s.id, s.split, s.target, s.group, s.site, s.mpp, s.bytes, *(hashes[f] for f in self.files(s)))
            digest.update(("\0".join(map(str, known)) + "\n").encode())
        return digest.hexdigest()
