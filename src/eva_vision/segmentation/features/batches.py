"""Batches that a decoder learns from: of stored feature maps, or images that pass the backbone in every step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as F
from typing_extensions import override

from eva_core.contracts.backbone import Backbone
from eva_core.errors import EvaError
from eva_core.extraction.engine import Unreadable, unreadable
from eva_core.extraction.pixels import normalised
from eva_core.extraction.settings import Extraction, loader_workers
from eva_core.store.row_reader import Rows
from eva_core.worker_processes import loader_context
from eva_vision.segmentation.features.feature_maps import feature_maps
from eva_vision.segmentation.features.map_store import MapStore
from eva_vision.segmentation.features.tile_images import TileImages
from eva_vision.segmentation.protocol import Segmentation

ARRAYS = ("features", "images", "masks")


@dataclass(frozen=True)
class Batch:
    """Feature maps float32 (B, D, h, w), normalised images (B, 3, S, S), masks int64 (B, M, M), on the device."""

    features: Tensor
    images: Tensor
    masks: Tensor


class Source(Interface):
    """Training tiles in a new order for every epoch."""

    def __len__(self) -> int:
        """Number of tiles."""

    def epoch(self, number: int, size: int, seed: int) -> Iterator[Batch]:
        """Give all tiles once, in batches of `size`, the last of them smaller; decided by `seed` and `number` alone."""


class Stored(Source):
    """Tiles of a store, read in shuffled blocks within a bound of memory; kept from epoch to epoch where all fit.

    A block is as many neighbouring tiles as a batch has. As many random blocks as memory holds are mixed at a time.
    """

    def __init__(
        self, store: MapStore, tiles: np.ndarray, backbone: Backbone, device: torch.device, memory: float, flips: bool
    ) -> None:
        """Open the arrays of a store.

        Args:
            store: The feature maps.
            tiles: Row numbers, ascending.
            backbone: Normalises the images.
            device: Where batches go.
            memory: Bytes that tiles may take.
            flips: Turn maps, images and masks over, each way with probability 1/2.
        """
        self.tiles, self.backbone, self.device, self.flips = tiles, backbone, device, flips
        self._rows = [Rows(store.path, name) for name in ARRAYS]
        self._window = max(1, int(memory // sum(rows.row_bytes for rows in self._rows)))
        self._cached: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.tiles)

    @override
    def epoch(self, number: int, size: int, seed: int) -> Iterator[Batch]:
        random = np.random.default_rng((seed, number))
        for arrays in self._windows(size, random):
            order = random.permutation(len(arrays[0]))
            for first in range(0, len(order), size):
                yield self._batch([values[order[first : first + size]] for values in arrays], random)
            del arrays  # else two windows are in memory while the next is read

    def in_order(self, size: int) -> Iterator[Batch]:
        """Give all tiles in the order of the store."""
        for first in range(0, len(self.tiles), size):
            now = slice(first, first + size)
            yield self._batch(self._read(self.tiles[now]))

    def _windows(self, size: int, random: np.random.Generator) -> Iterator[list[np.ndarray]]:
        if self._window >= len(self.tiles):
            if self._cached is None:
                self._cached = self._read(self.tiles)
            yield self._cached
            return
        blocks = [self.tiles[first : first + size] for first in range(0, len(self.tiles), size)]
        blocks = [blocks[i] for i in random.permutation(len(blocks))]
        at_once = max(1, self._window // size)
        for first in range(0, len(blocks), at_once):
            yield self._read(np.concatenate(blocks[first : first + at_once]))

    def _read(self, rows: np.ndarray) -> list[np.ndarray]:
        return [array.read(rows) for array in self._rows]

    def _batch(self, arrays: Sequence[np.ndarray], random: np.random.Generator | None = None) -> Batch:
        features, images, masks = (torch.from_numpy(values).to(self.device) for values in arrays)
        if self.flips and random is not None:
            for axis in (-1, -2):
                turned = torch.from_numpy(random.random(len(masks)) < 0.5).to(self.device)
                features, images, masks = (
                    torch.where(turned.view(-1, *[1] * (t.ndim - 1)), t.flip(axis), t)
                    for t in (features, images, masks)
                )
        pixels = normalised(images.float().div_(255), self.backbone)
        return Batch(features.float(), pixels, masks.long())


class Online(Source):
    """Tiles read, augmented and sent through the backbone in every step."""

    def __init__(
        self,
        items: TileImages,
        tiles: np.ndarray,
        section: Segmentation,
        backbone: Backbone,
        fabric: Fabric,
        settings: Extraction,
    ) -> None:
        self.items, self.tiles, self.layers = _Augmented(items, section.augment), tiles, section.layers
        self.backbone, self.fabric, self.settings = backbone, fabric, settings

    def __len__(self) -> int:
        return len(self.tiles)

    @override
    def epoch(self, number: int, size: int, seed: int) -> Iterator[Batch]:
        random = np.random.default_rng((seed, number))
        order = random.permutation(self.tiles)
        seeds = random.integers(2**63, size=len(order))  # each tile has its own: workers do not matter
        draws = list(zip(order.tolist(), seeds.tolist(), strict=True))
        workers = loader_workers(self.settings, self.fabric.device.type)
        loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            self.items,
            batch_sampler=[draws[first : first + size] for first in range(0, len(draws), size)],
            num_workers=workers,
            multiprocessing_context=loader_context() if workers else None,
        )
        try:
            for images, masks in loader:
                images = images.to(self.fabric.device)
                features = feature_maps(self.backbone, images, self.layers, self.fabric)
                pixels = normalised(images.float().div_(255), self.backbone)
                yield Batch(features.float(), pixels, masks.to(self.fabric.device).long())
        except Unreadable as error:
            raise EvaError(f"Cannot read image {error}. Repair it, or go on with --on_error skip.") from error


class _Augmented(TorchDataset[tuple[Tensor, Tensor]]):
    """Items by (row number, seed): uint8 (3, S, S) and (M, M), the same augmentation on both."""

    def __init__(self, items: TileImages, augment: Sequence[str]) -> None:
        self.items, self.augment = items, augment

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, draw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, seed = draw
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pixels, mask = self._cropped(index) if "crops" in self.augment else self.items[index][:2]
            if "flips" in self.augment:
                axes = [axis for axis in (-1, -2) if torch.rand(()) < 0.5]
                pixels, mask = pixels.flip(axes), mask.flip(axes)
        return pixels, mask

    def _cropped(self, index: int) -> tuple[Tensor, Tensor]:
        """A random resized crop of a tile, of torchvision's default scale and ratio."""
        try:
            image, mask, _ = self.items.tile(index)
        except Exception as error:
            raise unreadable(self.items.dataset.samples[self.items.tiles[index].sample], error) from error
        pixels, labels = torch.from_numpy(image.copy()).permute(2, 0, 1), torch.from_numpy(mask.copy())[None]
        drawn = RandomResizedCrop(1).make_params([pixels])
        place = [drawn[side] for side in ("top", "left", "height", "width")]
        side = [self.items.cutting.geometry.crop] * 2
        pixels = F.resized_crop(pixels, *place, side, InterpolationMode.BILINEAR, antialias=True)
        return pixels, F.resized_crop(labels, *place, side, InterpolationMode.NEAREST_EXACT)[0]
