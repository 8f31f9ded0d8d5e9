"""Feature maps: dataset x backbone -> a store of tiles, each with its map, its pixels and its mask.

`features` (n, D, h, w) float16, `images` (n, 3, S, S) and `masks` (n, M, M) uint8, one row a tile; `tiles` (n, 3) says
where it was cut: number of the sample, first row, first column. It is written in parts and resumed like embeddings.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from eva_core.contracts.backbone import Backbone, sha256_of_weights
from eva_core.contracts.checks import refuse_other_than
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError, UsageError
from eva_core.extraction.engine import Work, refuse_skipped, run, unreadable
from eva_core.extraction.pixels import SIGNATURE, normalised, preprocessing, refuse_partial_patches, transform_of
from eva_core.extraction.settings import Extraction
from eva_core.identity import qualified_name, version_of
from eva_core.store.reuse import contents_of, hashed, refuse_changed, teller
from eva_core.store.store import TEXTS, StoreKey, store_at
from eva_core.store.writer import join_parts, keep_parts_of, sample_columns
from eva_vision.segmentation.contracts import SegmentationDataset
from eva_vision.segmentation.features.map_store import MapStore
from eva_vision.segmentation.features.tile_images import Cutting, TileImages, scaled
from eva_vision.segmentation.features.tiles import Tile, grid, inside
from eva_vision.segmentation.protocol import Segmentation


def maps_key(backbone: Backbone, dataset: SegmentationDataset, protocol: Protocol, section: Segmentation) -> StoreKey:
    """Name all that feature maps depend on."""
    preprocess = preprocessing(protocol, backbone.card)
    del preprocess["pooling"]
    cutting = Cutting.of(section, protocol.geometry_for(backbone.card))
    tiles = {"tile": cutting.tile, "mpp": cutting.mpp, "stitch": cutting.stitch, "overlap": cutting.overlap}
    content = {
        "weights_sha256": sha256_of_weights(backbone),
        "class": qualified_name(backbone),
        "version": version_of(backbone),
        "arguments": backbone.arguments,
        "preprocess": {**preprocess, "tiles": tiles, "layers": list(section.layers)},
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
    section: Segmentation,
    settings: Extraction,
    tell: Callable[[str], None],
    model: str | None = None,
) -> "MapStore":
    """Make the feature maps of every tile, or find them in the cache.

    Args:
        key: From `maps_key`.
        backbone: The model.
        dataset: Its images and masks are read.
        protocol: Decides transform and geometry.
        section: The section of the protocol: tiles and layers.
        settings: Device, batch size and the like.
        tell: Receives lines for the user.
        model: Name of the model in them; the backbone's own unless given.
    Raises:
        EvaError: An image or a mask cannot be read (names it), or a feature map is not finite.
    """
    cutting = Cutting.of(section, protocol.geometry_for(backbone.card))
    refuse_partial_patches(cutting.geometry.crop, backbone)
    title = f"{model or backbone.name} on {dataset.card.name}"
    make = partial(_fill, key, backbone, dataset, protocol, section, cutting, settings, tell, title)
    store = store_at(key.path, MapStore, make, tell)
    refuse_skipped(store.skipped, settings)
    return store


def _fill(
    key: StoreKey,
    backbone: Backbone,
    dataset: SegmentationDataset,
    protocol: Protocol,
    section: Segmentation,
    cutting: Cutting,
    settings: Extraction,
    tell: Callable[[str], None],
    title: str,
) -> None:
    tiles, sizes = lay_out(dataset, cutting, settings.on_error == "skip")
    items = TileImages(dataset, tiles, cutting, transform_of(protocol)(cutting.geometry), settings.on_error == "skip")
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
        partial(_maps, section.layers),
        partial(_finish, key, dataset, images, columns),
        title,
        unit="tiles",
    )
    run(work, settings, tell)


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
    """Hash what decides each tile: pixels and labels of its image, their mpp, its place: uint8 (n, 32)."""
    hashes = dataset.hashes()
    of_pixels, of_labels = teller(dataset, "pixels", ("image",)), teller(dataset, "labels", ("mask", "annotation"))
    texts: list[str | None] = []
    for sample in dataset.samples:
        pixels = None if of_pixels is None else dataset.pixels(sample, hashes)
        labels = None if of_labels is None else dataset.labels(sample, hashes)
        if not dataset.labelled(sample):
            labels = "none"
        parts = (of_pixels, pixels, of_labels, labels, sample.mpp or dataset.card.mpp)
        texts.append(None if pixels is None or labels is None else "\0".join(map(str, parts)))
    return hashed([None if (text := texts[t.sample]) is None else f"{text}\0{t.y}\0{t.x}" for t in tiles])


def lay_out(dataset: SegmentationDataset, cutting: Cutting, skip: bool) -> tuple[list[Tile], np.ndarray]:
    """Lay out the tiles of every image, in order; with the height and width of each at the mpp, int32 (N, 2).

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


def _corners(height: int, width: int, cutting: Cutting) -> list[tuple[int, int]]:
    if cutting.tile is None:
        return [(0, 0)]
    return grid(height, width, cutting.tile, cutting.overlap) if cutting.stitch else inside(height, width, cutting.tile)


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
        maps = backbone.feature_map(normalised(images.float().div_(255), backbone), list(layers) or None)
    refuse_other_than("(B, D, h, w)", maps, images, backbone)
    return maps.half()
