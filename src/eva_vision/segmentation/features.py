"""Feature maps: dataset x backbone -> a store of tiles, each with its map, its pixels and its mask.

`features` (n, D, h, w) float16, `images` (n, 3, S, S) and `masks` (n, M, M) uint8, one row a tile; `tiles` (n, 3) says
where it was cut: number of the sample, first row, first column. It is written in parts and resumed like embeddings.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import h5py
import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.v2.functional import center_crop

from eva_core.contracts import pixels_of, refuse_other_than
from eva_core.contracts.protocol import Protocol, Segmentation
from eva_core.errors import EvaError, UsageError
from eva_core.extraction.embed import (
    SIGNATURE,
    Extraction,
    Work,
    normalised,
    preprocessing,
    refuse_partial_patches,
    refuse_skipped,
    run,
    signature,
    transform_of,
    unreadable,
)
from eva_core.identity import qualified_name, version_of
from eva_core.store.hdf5_files import reading
from eva_core.store.reuse import contents_of, hashed, refuse_changed, teller
from eva_core.store.store import TEXTS, Samples, StoreKey, store_at
from eva_core.store.writer import join_parts, keep_parts_of, sample_columns
from eva_core.types import IGNORE, Backbone, Geometry, SegmentationDataset, sha256_of_weights
from eva_vision.segmentation.tiles import Tile, cut, grid, inside, rescale, rescale_labels, scaled_size

_AT_ONCE = 16  # masks read in one go


@dataclass(frozen=True)
class Cutting:
    """How images become tiles, and tiles what a model sees.

    Attributes:
        tile: Side in pixels; None: the whole image.
        geometry: Of the model's input.
        score: Side at which masks are learnt and scored: that of the tile where tiles are stitched, else of the input.
    """

    tile: int | None
    mpp: float | None
    stitch: bool
    overlap: int
    geometry: Geometry

    @classmethod
    def of(cls, rules: Segmentation, geometry: Geometry) -> "Cutting":
        tile = geometry.crop if rules.stitch and rules.tile is None else rules.tile
        return cls(tile, rules.mpp, rules.stitch, rules.overlap if rules.stitch else 0, geometry)

    @property
    def score(self) -> int:
        return self.tile if self.stitch and self.tile is not None else self.geometry.crop


def maps_key(backbone: Backbone, dataset: SegmentationDataset, protocol: Protocol, rules: Segmentation) -> StoreKey:
    """The identity of feature maps."""
    preprocess = preprocessing(protocol, backbone.card)
    del preprocess["pooling"]
    cutting = Cutting.of(rules, protocol.geometry_for(backbone.card))
    tiles = {"tile": cutting.tile, "mpp": cutting.mpp, "stitch": cutting.stitch, "overlap": cutting.overlap}
    content = {
        "weights_sha256": sha256_of_weights(backbone),
        "class": qualified_name(backbone),
        "version": version_of(backbone),
        "arguments": backbone.arguments,
        "preprocess": {**preprocess, "tiles": tiles, "layers": list(rules.layers)},
        "dtype": "float16",
        "signature": SIGNATURE,
        "dataset_sha256": dataset.fingerprint(),
    }
    return StoreKey(backbone.name, f"{dataset.card.name}-maps", content)


def extract_maps(
    key: StoreKey,
    backbone: Backbone,
    dataset: SegmentationDataset,
    protocol: Protocol,
    rules: Segmentation,
    how: Extraction,
    tell: Callable[[str], None],
) -> "MapStore":
    """The feature maps of every tile, from the cache where it has them.

    Args:
        key: From `maps_key`.
        tell: Receives lines for the user.
    Raises:
        EvaError: An image or a mask cannot be read (names it), or a feature map is not finite.
    """
    cutting = Cutting.of(rules, protocol.geometry_for(backbone.card))
    refuse_partial_patches(cutting.geometry.crop, backbone)
    make = partial(_fill, key, backbone, dataset, protocol, rules, cutting, how, tell)
    store = store_at(key.path, MapStore, make, tell)
    refuse_skipped(store.skipped, how)
    return store


def _fill(
    key: StoreKey,
    backbone: Backbone,
    dataset: SegmentationDataset,
    protocol: Protocol,
    rules: Segmentation,
    cutting: Cutting,
    how: Extraction,
    tell: Callable[[str], None],
) -> None:
    tiles, sizes = lay_out(dataset, cutting, how.on_error == "skip")
    items = TileImages(dataset, tiles, cutting, transform_of(protocol)(cutting.geometry), how.on_error == "skip")
    columns = {
        **{name: values for name, values in sample_columns(dataset).items() if name in TEXTS},
        "tiles": np.array([[t.sample, t.y, t.x] for t in tiles], np.int32).reshape(-1, 3),
        "sizes": sizes,
    }
    # an image that could not be read then and can now would shift all rows after it
    keep_parts_of(key.path, hashlib.sha256(columns["tiles"].tobytes() + sizes.tobytes()).hexdigest())
    images = contents_of(dataset)
    work = Work(
        key,
        backbone,
        protocol,
        items,
        [dataset.samples[t.sample].id for t in tiles],
        _contents(dataset, tiles),
        partial(_maps, rules.layers),
        partial(_finish, key, dataset, images, columns),
        unit="tiles",
    )
    run(work, how, tell)


def _finish(
    key: StoreKey,
    dataset: SegmentationDataset,
    images: np.ndarray,
    columns: dict[str, np.ndarray],
    about: dict[str, Any],
) -> None:
    samples = columns["tiles"][:, 0]
    refuse_changed(key, dataset, samples, images)
    join_parts(key.path, key, len(samples), columns, about)


def _contents(dataset: SegmentationDataset, tiles: Sequence[Tile]) -> np.ndarray:
    """A hash of what decides each tile: pixels and labels of its image, their mpp, its place: uint8 (n, 32)."""
    hashes = dataset.hashes()
    of_pixels, of_labels = teller(dataset, "pixels", ("image",)), teller(dataset, "labels", ("mask", "annotation"))
    texts: list[str | None] = []
    for sample in dataset.samples:
        pixels = None if of_pixels is None else dataset.pixels(sample, hashes)
        labels = None if of_labels is None else dataset.labels(sample, hashes)
        if not dataset.labelled(sample):
            labels = "none"
        known = (of_pixels, pixels, of_labels, labels, sample.mpp or dataset.card.mpp)
        texts.append(None if pixels is None or labels is None else "\0".join(map(str, known)))
    return hashed([None if (text := texts[t.sample]) is None else f"{text}\0{t.y}\0{t.x}" for t in tiles])


def lay_out(dataset: SegmentationDataset, cutting: Cutting, skip: bool) -> tuple[list[Tile], np.ndarray]:
    """The tiles of every image, in order, and the height and width of each image at the wanted mpp, int32 (N, 2).

    An image that cannot be read has no tiles and no size.
    """
    tiles: list[Tile] = []
    sizes = np.zeros((len(dataset.samples), 2), np.int32)
    for number, sample in enumerate(dataset.samples):
        try:
            height, width = dataset.size(sample)
        except (EvaError, OSError) as error:
            if skip:
                continue
            raise EvaError(
                f"Cannot read image {unreadable(sample, error)}. "
                "Repair it, or go on without such images with --on_error skip."
            ) from error
        height, width = scaled(dataset, number, (height, width), cutting.mpp)
        corners = _corners(height, width, cutting)
        if not corners:
            raise UsageError(
                f"Expected images of at least {cutting.tile} px, but {sample.id!r} has {height} x {width}. "
                "Set --protocol.segmentation.tile, or --protocol.segmentation.stitch true."
            )
        sizes[number] = height, width
        tiles += [Tile(number, y, x) for y, x in corners]
    return tiles, sizes


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


def _corners(height: int, width: int, cutting: Cutting) -> list[tuple[int, int]]:
    if cutting.tile is None:
        return [(0, 0)]
    return grid(height, width, cutting.tile, cutting.overlap) if cutting.stitch else inside(height, width, cutting.tile)


class TileImages(TorchDataset):
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
        """Pixels and labels of a tile as it was cut, (T, T, 3) and (T, T), and the thumbnail of its image."""
        tile, side = self.tiles[index], self.cutting.tile
        if self._last is None or self._last[0] != tile.sample:
            pair = read_pair(self.dataset, tile.sample, self.cutting.mpp)
            self._last = (tile.sample, *pair, signature(pair[0]))
        _, image, mask, thumbnail = self._last
        if side is None:
            return image, mask, thumbnail
        return cut(image, tile.y, tile.x, side), cut(mask, tile.y, tile.x, side, fill=IGNORE), thumbnail


def read_pair(dataset: SegmentationDataset, number: int, mpp: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) and mask (H, W) of a sample at an mpp; all is ignored where no mask is known."""
    sample = dataset.samples[number]
    image = pixels_of(dataset, sample)
    mask = dataset.mask(sample) if dataset.labelled(sample) else np.full(image.shape[:2], IGNORE, np.uint8)
    size = scaled(dataset, number, image.shape, mpp)
    return rescale(image, size), rescale_labels(mask, size)


def fit_labels(labels: np.ndarray, geometry: Geometry, beyond: int = IGNORE) -> Tensor:
    """Labels (H, W) through the resize and crop of an image, by nearest: (crop, crop).

    Args:
        beyond: The label past the border, where the crop is larger than the image.
    """
    height, width = labels.shape
    short = min(height, width)
    size = (geometry.resize * height // short, geometry.resize * width // short)  # as torchvision rounds
    found = torch.from_numpy(np.ascontiguousarray(rescale_labels(labels, size)))
    return center_crop(found[None] - beyond, [geometry.crop, geometry.crop])[0] + beyond  # it fills with 0


def _maps(layers: Sequence[int], fabric: Fabric, backbone: Backbone, batch: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """Items of `TileImages` -> the rows of a store."""
    images, masks, signatures, readable = batch
    return {
        "features": feature_maps(backbone, images.to(fabric.device, non_blocking=True), layers, fabric).cpu().numpy(),
        "images": images.numpy(),
        "masks": masks.numpy(),
        "signature": signatures.numpy(),
        "readable": readable.numpy(),
    }


def feature_maps(backbone: Backbone, images: Tensor, layers: Sequence[int], fabric: Fabric) -> Tensor:
    """uint8 (B, 3, S, S) -> float16 (B, D, h, w): what a store holds, and what the backbone in the loop gives.

    Raises:
        EvaError: The model gives no maps.
    """
    with torch.inference_mode(), fabric.autocast():
        found = backbone.feature_map(normalised(images.float().div_(255), backbone), list(layers) or None)
    refuse_other_than("(B, D, h, w)", found, images, backbone)
    return found.half()


class MapStore(Samples):
    """A finished store of feature maps: a row is a tile, a sample has one tile or several."""

    def _load(self, file: h5py.File) -> bool:
        self.tiles, self.sizes = file["tiles"][:], file["sizes"][:]  # (n, 3), (samples, 2)
        self.channels = int(file["features"].shape[1])
        tiles_of = np.bincount(self.tiles[:, 0], minlength=len(self.ids))
        read = np.bincount(self.tiles[:, 0], file["readable"][:], minlength=len(self.ids))
        self.readable = (tiles_of > 0) & (read == tiles_of)
        return all(len(file[name]) == self.attributes["n"] for name in ("features", "images", "masks", "tiles"))

    def tiles_of(self, samples: np.ndarray) -> np.ndarray:
        """Row numbers of the tiles of some samples, ascending."""
        return np.flatnonzero(np.isin(self.tiles[:, 0], samples))

    def signatures(self, samples: np.ndarray) -> np.ndarray:
        with reading(self.path) as file:
            first = np.searchsorted(self.tiles[:, 0], samples)  # tiles lie in the order of the samples
            return file["signature"][:][first]

    @cached_property
    def pixels(self) -> np.ndarray:
        """How many pixels of every label each sample has, (samples, 256)."""
        counts = np.zeros((len(self.ids), IGNORE + 1), np.int64)
        with reading(self.path) as file:
            for first in range(0, len(self.tiles), _AT_ONCE):
                for row, mask in enumerate(file["masks"][first : first + _AT_ONCE], start=first):
                    counts[self.tiles[row, 0]] += np.bincount(mask.ravel(), minlength=IGNORE + 1)
        return counts

    @cached_property
    def targets(self) -> np.ndarray:  # type: ignore[override]
        """The class that most pixels of a sample have, not counting the most frequent class of all: (samples,).

        A hold-out is balanced by it, so that rare classes are in both parts.
        """
        counts = self.pixels.copy()
        counts[:, [IGNORE, counts[:, :IGNORE].sum(0).argmax()]] = 0
        return counts.argmax(1)

    def image(self, tile: int) -> np.ndarray:
        """What the model saw of a tile, uint8 (S, S, 3)."""
        with reading(self.path) as file:
            return file["images"][tile].transpose(1, 2, 0).copy()
