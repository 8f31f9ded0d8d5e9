"""Dataset x backbone -> embedding store: the one place where a foundation model runs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from eva_core.contracts.backbone import Backbone, sha256_of_weights
from eva_core.contracts.checks import pixels_of, refuse_other_than
from eva_core.contracts.dataset import Dataset
from eva_core.contracts.protocol import Protocol
from eva_core.extraction.engine import Work, refuse_skipped, run, unreadable
from eva_core.extraction.pixels import (
    SIGNATURE,
    colour_statistics,
    normalised,
    preprocessing,
    refuse_partial_patches,
    signature,
    transform_of,
)
from eva_core.extraction.settings import Extraction
from eva_core.identity import qualified_name, version_of
from eva_core.progress import say
from eva_core.store.reuse import contents_of, refuse_changed
from eva_core.store.store import Store, StoreKey, store_at
from eva_core.store.writer import merge


def store_key(backbone: Backbone, dataset: Dataset, protocol: Protocol) -> StoreKey:
    """The identity of the embeddings; versions and the device are recorded, not keyed."""
    content = {
        "weights_sha256": sha256_of_weights(backbone),
        "class": qualified_name(backbone),
        "version": version_of(backbone),
        "arguments": backbone.arguments,
        "preprocess": preprocessing(protocol, backbone.card),
        "dtype": "float32",
        "signature": SIGNATURE,
        "dataset_sha256": dataset.fingerprint(),
    }
    return StoreKey(backbone.name, dataset.card.name, content)


def extract(
    key: StoreKey,
    backbone: Backbone,
    dataset: Dataset,
    protocol: Protocol,
    how: Extraction,
    tell: Callable[[str], None] = say,
    model: str | None = None,
) -> Store:
    """The embeddings of every sample, from the cache where it has them.

    Args:
        key: From `store_key`.
        backbone: The model.
        dataset: The images.
        protocol: Decides preprocessing, pooling and precision.
        how: Device, batch size and the like.
        tell: Receives lines for the user.
        model: Name of the model in them; the backbone's own unless given.
    Raises:
        EvaError: An image cannot be read (names it), or an embedding is not finite (names the id).
    """
    geometry = protocol.geometry_for(backbone.card)
    refuse_partial_patches(geometry.crop, backbone)
    images = _Images(dataset, transform_of(protocol)(geometry), geometry.crop, how.on_error == "skip")

    def make() -> None:
        ids, contents = [s.id for s in dataset.samples], contents_of(dataset)
        finish = partial(_finish, key, dataset, contents)
        title = f"{model or backbone.name} on {dataset.card.name}"
        run(Work(key, backbone, protocol, images, ids, contents, _embed, finish, title), how, tell)

    store = store_at(key.path, Store, make, tell)
    refuse_skipped(store.skipped, how)
    return store


def _finish(key: StoreKey, dataset: Dataset, contents: np.ndarray, about: dict[str, Any]) -> None:
    refuse_changed(key, dataset, np.arange(len(contents)), contents)
    merge(key.path, key, dataset, about)


def _embed(fabric: Fabric, backbone: Backbone, batch: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """Items of `_Images` -> embeddings float32 (B, D), colour statistics float32 (B, 6), and what is passed on."""
    images, signatures, sides, readable = batch
    return {
        **embedded(fabric.device, fabric.autocast(), backbone, images),
        "signature": signatures.numpy(),
        "short_side": sides.numpy(),
        "readable": readable.numpy(),
    }


def embedded(
    device: torch.device, autocast: AbstractContextManager[Any], backbone: Backbone, images: Tensor
) -> dict[str, np.ndarray]:
    """Run the backbone on images as its transform gives them.

    Args:
        device: Where the model is.
        autocast: Context of its precision.
        backbone: From `eva_core.extraction.engine.prepare`.
        images: uint8 (B, 3, S, S).
    Returns:
        `embeddings` float32 (B, D), `colour_stats` float32 (B, 6).
    """
    with torch.inference_mode():
        pixels = images.to(device, non_blocking=True).float().div_(255)
        colours = colour_statistics(pixels)
        with autocast:
            embeddings = backbone(normalised(pixels, backbone))
    refuse_other_than("(B, D)", embeddings, images, backbone)
    return {"embeddings": embeddings.float().cpu().numpy(), "colour_stats": colours.cpu().numpy()}


class _Images(TorchDataset[tuple[Tensor, np.ndarray, int, bool]]):
    """Decodes and transforms in the loader's workers; what cannot be read becomes a black image, marked."""

    def __init__(self, dataset: Dataset, transform: Callable[[np.ndarray], Tensor], side: int, skip: bool) -> None:
        self.dataset, self.transform, self.side, self.skip = dataset, transform, side, skip

    def __len__(self) -> int:
        return len(self.dataset.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, np.ndarray, int, bool]:
        sample = self.dataset.samples[index]
        try:
            image = pixels_of(self.dataset, sample)
            return self.transform(image), signature(image), min(image.shape[:2]), True
        except Exception as error:
            if not self.skip:
                raise unreadable(sample, error) from error
            black = torch.zeros(3, self.side, self.side, dtype=torch.uint8)
            return black, np.zeros(SIGNATURE**2, np.float16), 0, False
