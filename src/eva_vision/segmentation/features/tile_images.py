"""Tiles as they are cut from the images and masks of a dataset, and as a model sees them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.v2.functional import center_crop

from eva_core.contracts.cards import Geometry
from eva_core.contracts.checks import pixels_of
from eva_core.errors import UsageError
from eva_core.extraction.engine import unreadable
from eva_core.extraction.pixels import SIGNATURE, signature
from eva_vision.segmentation.contracts import IGNORE, SegmentationDataset
from eva_vision.segmentation.features.tiles import Tile, cut, rescale, rescale_labels, scaled_size
from eva_vision.segmentation.protocol import Segmentation


@dataclass(frozen=True)
class Cutting:
    """How images become tiles, and tiles what a model sees.

    Attributes:
        tile: Side in pixels; None: the whole image.
        geometry: Resize and crop of the model's input.
        score: Side at which masks are learnt and scored: that of the tile where tiles are stitched, else of the input.
    """

    tile: int | None
    mpp: float | None
    stitch: bool
    overlap: int
    geometry: Geometry

    @classmethod
    def of(cls, section: Segmentation, geometry: Geometry) -> "Cutting":
        """Derive from a section of a protocol how images are cut for the input of a model."""
        tile = geometry.crop if section.stitch and section.tile is None else section.tile
        return cls(tile, section.mpp, section.stitch, section.overlap if section.stitch else 0, geometry)

    @property
    def score(self) -> int:
        """Side in pixels at which masks are learnt and scored."""
        return self.tile if self.stitch and self.tile is not None else self.geometry.crop


class TileImages(TorchDataset[tuple[Tensor, Tensor, np.ndarray, bool]]):
    """Cuts tiles in the loader's workers; the tiles of an image come one after another, so it is decoded once."""

    def __init__(
        self,
        dataset: SegmentationDataset,
        tiles: Sequence[Tile],
        cutting: Cutting,
        transform: Callable[[np.ndarray], Tensor],
        skip: bool,
    ) -> None:
        self.dataset, self.tiles, self.cutting, self.transform, self.skip = dataset, tiles, cutting, transform, skip
        self._last: tuple[int, np.ndarray, np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, np.ndarray, bool]:
        number, side = self.tiles[index].sample, self.cutting.geometry.crop
        try:
            image, mask, thumbnail = self.tile(index)
        except Exception as error:
            if not self.skip:
                raise unreadable(self.dataset.samples[number], error) from error
            blank = torch.full((self.cutting.score, self.cutting.score), IGNORE, dtype=torch.uint8)
            return torch.zeros(3, side, side, dtype=torch.uint8), blank, np.zeros(SIGNATURE**2, np.float16), False
        if self.cutting.stitch:
            pixels = torch.from_numpy(rescale(image, (side, side)).copy()).permute(2, 0, 1)
            return pixels, torch.from_numpy(mask.copy()), thumbnail, True
        return self.transform(image), fit_labels(mask, self.cutting.geometry), thumbnail, True

    def tile(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cut pixels and labels of a tile, (T, T, 3) and (T, T), and the thumbnail of its image."""
        tile, side = self.tiles[index], self.cutting.tile
        if self._last is None or self._last[0] != tile.sample:
            pair = read_pair(self.dataset, tile.sample, self.cutting.mpp)
            self._last = (tile.sample, *pair, signature(pair[0]))
        _, image, mask, thumbnail = self._last
        if side is None:
            return image, mask, thumbnail
        return cut(image, tile.y, tile.x, side), cut(mask, tile.y, tile.x, side, fill=IGNORE), thumbnail


def read_pair(dataset: SegmentationDataset, number: int, mpp: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Read image (H, W, 3) and mask (H, W) of a sample at an mpp; all is ignored where no mask is known."""
    sample = dataset.samples[number]
    image = pixels_of(dataset, sample)
    mask = dataset.mask(sample) if dataset.labelled(sample) else np.full(image.shape[:2], IGNORE, np.uint8)
    size = scaled(dataset, number, image.shape, mpp)
    return rescale(image, size), rescale_labels(mask, size)


def fit_labels(labels: np.ndarray, geometry: Geometry, beyond: int = IGNORE) -> Tensor:
    """Bring labels (H, W) through the resize and crop of an image, by nearest: (crop, crop).

    Args:
        labels: Labels of any integer type, (H, W).
        geometry: Resize and crop of the model's input.
        beyond: The label past the border, where the crop is larger than the image.
    """
    height, width = labels.shape
    short = min(height, width)
    size = (geometry.resize * height // short, geometry.resize * width // short)  # as torchvision rounds
    resized = torch.from_numpy(np.ascontiguousarray(rescale_labels(labels, size)))
    cropped: Tensor = center_crop(resized[None] - beyond, [geometry.crop, geometry.crop])[0] + beyond  # it fills with 0
    return cropped


def scaled(dataset: SegmentationDataset, number: int, size: tuple[int, ...], target: float | None) -> tuple[int, int]:
    """Height and width of a sample of `size` (H, W, ...) at another mpp.

    Raises:
        UsageError: Its own mpp is not known.
    """
    height, width = size[:2]
    if target is None:
        return height, width
    native = dataset.samples[number].mpp or dataset.card.mpp
    if native is None:
        raise UsageError(
            f"Expected micrometres per pixel of {dataset.card.name!r} to bring images to {target}, but none is known. "
            "Set --dataset.mpp, or --protocol.segmentation.mpp null."
        )
    return scaled_size(height, width, native, target)
