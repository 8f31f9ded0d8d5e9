"""The base of datasets of masks: files of labels are read, and what is no mask of its image is refused."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ImageOps
from typing_extensions import override

from eva_core.contracts.dataset import Sample
from eva_core.errors import EvaError, some
from eva_vision.decoding import opened
from eva_vision.images import image_size, read_image, readable_hash
from eva_vision.segmentation.contracts import IGNORE, SegmentationDataset

_LABEL_MODES = {"1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N"}
"""Modes of Pillow with one whole number a pixel."""


class Annotation(NamedTuple):
    """Classes and objects of an image, as its file of labels has them.

    Attributes:
        classes: uint8 (H, W), indices into the card's classes or `IGNORE`.
        instances: int32 (H, W), 0 for no object; None where objects are not told apart.
    """

    classes: np.ndarray
    instances: np.ndarray | None = None


class MaskFiles(SegmentationDataset):
    """Samples are image files, each with a file of labels. Subclasses say how that file is read."""

    _last: tuple[str, Annotation] | None = None

    @abstractmethod
    def annotation(self, sample: Sample) -> Annotation:
        """Read the file of labels of a sample. Its size is checked against the image's by who calls."""

    @override
    def image(self, sample: Sample) -> np.ndarray:
        """Decode the image of a sample: uint8 RGB, (H, W, 3).

        Raises:
            EvaError: It does not read, or has no pixels.
        """
        self.size(sample)
        assert sample.path is not None
        with reading(sample.path, "an image"):
            return read_image(sample.path)

    @override
    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the image file."""
        assert sample.path is not None
        return readable_hash(hashes[sample.path])

    @override
    def size(self, sample: Sample) -> tuple[int, int]:
        """Height and width of the image in pixels, from its header.

        Raises:
            EvaError: It is not an image, or has no pixels.
        """
        assert sample.path is not None
        with reading(sample.path, "an image"):
            height, width = image_size(sample.path)
        if not height or not width:
            raise EvaError(f"Expected an image in {sample.path}, but it is {height} x {width}. Get the file again.")
        return height, width

    @override
    def mask(self, sample: Sample) -> np.ndarray:
        """The class of every pixel: uint8 (H, W), indices into the card's classes or `IGNORE`.

        Raises:
            EvaError: It does not read, holds a label outside the classes, or is of another size than the image.
        """
        return self._checked(sample).classes.copy()

    @override
    def instances(self, sample: Sample) -> np.ndarray | None:
        """The number of the object at every pixel, 0 for none: int32 (H, W); None where objects are not told apart.

        Raises:
            EvaError: The mask does not read, holds a label outside the classes, or is of another size than the image.
        """
        instances = self._checked(sample).instances
        return None if instances is None else instances.copy()

    def _checked(self, sample: Sample) -> Annotation:
        last = self._last
        if last is None or last[0] != sample.id:  # tiles of one image, its mask and its objects come one after another
            if sample.label_path is None:
                raise EvaError(
                    f"Expected a mask for {sample.id}, but it has none. Only predict on it, or add its mask."
                )
            last = self._last = (sample.id, self.annotation(sample))
            size = self.size(sample)
            for array in last[1]:
                if array is not None and array.shape != size:
                    self._last = None
                    raise EvaError(
                        f"Expected a mask of {_by(size)} as {sample.path}, but {sample.label_path} is "
                        f"{_by(array.shape)} (height x width). Make both the same size."
                    )
        return last[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}  # each loader process reads for itself


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


@contextmanager
def reading(file: Path, content: str) -> Iterator[None]:
    """Turn whatever a decoder raises into one line.

    Raises:
        EvaError: Names the file and the reason.
    """
    try:
        yield
    except EvaError:
        raise
    except Exception as error:  # of damaged files, decoders raise many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EvaError(f"Expected {content} in {file}, but it does not read: {reason}. Get the file again.") from error


def read_labels(file: Path) -> np.ndarray:
    """Read the numbers that an image file stores, (H, W): the indices of a palette, the values of grey.

    Raises:
        EvaError: It is not an image, or one of colours.
    """
    with reading(file, "a mask"), opened(file) as image:
        if image.mode not in _LABEL_MODES:
            raise EvaError(
                f"Expected one label a pixel in {file}, but it is an image of colours ({image.mode}). "
                "Save it with a palette or as grey, where the stored value is the label."
            )
        return np.array(ImageOps.exif_transpose(image))


def to_classes(stored: np.ndarray, table: np.ndarray, file: Path, ignore: int | None = None) -> np.ndarray:
    """Convert labels as stored, (H, W), to classes, uint8 (H, W).

    Args:
        stored: Whole numbers of any type.
        table: The class of label i at place i, uint8.
        file: For messages.
        ignore: The label of pixels that become `IGNORE`.
    Raises:
        EvaError: Names the labels that have no class.
    """
    labels = whole_numbers(stored, file)
    ignored = np.zeros(labels.shape, bool) if ignore is None else labels == ignore
    labels = np.where(ignored, 0, labels)
    if labels.size and (labels.min() < 0 or labels.max() >= len(table)):
        strange = np.unique(labels[(labels < 0) | (labels >= len(table))])
        raise EvaError(
            f"Expected labels from 0 to {len(table) - 1}{'' if ignore is None else f', or {ignore} to ignore,'} in "
            f"{file}, but got {some(str(label) for label in strange.tolist())}. Correct the mask or its classes."
        )
    classes: np.ndarray = table[labels]
    classes[ignored] = IGNORE
    return classes


def to_instances(stored: np.ndarray, file: Path) -> np.ndarray:
    """Convert numbers of objects as stored, (H, W), to int32 (H, W).

    Raises:
        EvaError: They are no whole numbers from 0.
    """
    numbers = whole_numbers(stored, file)
    if numbers.size and (numbers.min() < 0 or numbers.max() > np.iinfo(np.int32).max):
        raise EvaError(
            f"Expected numbers of objects from 0 in {file}, but got {numbers.min()} to {numbers.max()}. Correct it."
        )
    return numbers.astype(np.int32)


def whole_numbers(stored: np.ndarray, file: Path) -> np.ndarray:
    """Convert numbers (H, W) that are whole to integers.

    Raises:
        EvaError: Fractions, NaN, text, or an array of another shape.
    """
    if stored.ndim != 2:
        raise EvaError(f"Expected labels (H, W) in {file}, but got an array {stored.shape}. Save one label a pixel.")
    if stored.dtype.kind in "ui":
        return stored
    if stored.dtype.kind == "b":
        return stored.astype(np.uint8)
    if stored.dtype.kind == "f" and np.isfinite(stored).all() and (stored == np.round(stored)).all():
        return stored.astype(np.int64)
    raise EvaError(f"Expected whole numbers as labels in {file}, but got {stored.dtype}. Save them as integers.")
