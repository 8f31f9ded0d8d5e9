"""Dataset x backbone -> embedding store: the one place where a foundation model runs."""

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from eva_core.embeddings import PartWriter, Store, StoreKey, finished_parts, locked, merge, open_store
from eva_core.errors import EvaError, UsageError
from eva_core.progress import Bar, say
from eva_core.protocol import Protocol
from eva_core.registry import class_path_of, import_object
from eva_core.types import Backbone, Dataset, ModelCard, Sample, sha256_of_weights

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
SIGNATURE = 8


@dataclass(frozen=True)
class Extraction:
    """How to run the backbone; changes the speed, not the key.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `mps`.
        devices: How many of them.
        batch_size: Images per forward pass; a batch depends on the sample order alone.
        workers: Loader processes per device; None: as many as help.
        on_error: `raise` at an image that cannot be read, or `skip` it, count it and say so.
        part_seconds: A kill loses at most this much work.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    batch_size: int = 32
    workers: int | None = None
    on_error: Literal["raise", "skip"] = "raise"
    part_seconds: float = 10.0


def preprocessing(protocol: Protocol, card: ModelCard) -> dict[str, Any]:
    """All that happens to pixels before the weights see them, and to tokens after."""
    return {
        "transform": protocol.transform,
        "geometry": asdict(protocol.geometry_for(card)),
        "mean": list(card.mean),
        "std": list(card.std),
        "pooling": protocol.pooling_for(card),
        "precision": protocol.precision_for(card),
    }


def store_key(backbone: Backbone, dataset: Dataset, protocol: Protocol) -> StoreKey:
    """The identity of the embeddings; versions and the device are recorded, not keyed."""
    content = {
        "weights_sha256": sha256_of_weights(backbone),
        "class": class_path_of(backbone),
        "arguments": backbone.arguments,
        "preprocess": preprocessing(protocol, backbone.card),
        "dtype": "float32",
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
) -> Store:
    """The embeddings of every sample, from the cache where it has them.

    Args:
        key: From `store_key`.
        tell: Receives lines for the user.
    Raises:
        EvaError: An image cannot be read (names it), or an embedding is not finite (names the id).
    """
    if not dataset.samples:
        raise UsageError(f"Expected images in dataset {dataset.card.name!r}, but it is empty.")
    crop, patch = protocol.geometry_for(backbone.card).crop, backbone.card.patch_size or 1
    if crop % patch:
        raise UsageError(f"Expected protocol.geometry.crop as a multiple of the patch, {patch}, but got {crop}.")
    with locked(key.path, tell):
        store = open_store(key.path)
        if store is None:
            _launch(key, backbone, dataset, protocol, how)
            store = Store(key.path)
    refuse_skipped(store.skipped, how)
    return store


def refuse_skipped(skipped: Sequence[str], how: Extraction) -> None:
    """Embeddings or results that left images out serve only those who allow it.

    Raises:
        EvaError: Some were left out, and `on_error` is not `skip`.
    """
    if skipped and how.on_error != "skip":
        raise EvaError(
            f"{len(skipped)} images could not be read, first {skipped[0]!r}. "
            "Repair them, or go on without them with --on_error skip."
        )


def _launch(key: StoreKey, backbone: Backbone, dataset: Dataset, protocol: Protocol, how: Extraction) -> None:
    try:
        fabric = Fabric(
            accelerator=how.device,
            devices=how.devices,
            strategy="ddp_spawn" if how.devices > 1 else "auto",
            precision=PRECISIONS[protocol.precision_for(backbone.card)],  # type: ignore[arg-type]
        )
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"Expected {how.devices} x {how.device} on this machine, but there is none. `eva doctor` lists devices."
        ) from error
    share = partial(_extract, key=key, backbone=backbone, dataset=dataset, protocol=protocol, how=how)
    if how.devices > 1:
        fabric.launch(share)  # bound beforehand: Fabric takes arguments apart and trips over frozen dataclasses
    else:
        share(fabric)


def _extract(
    fabric: Fabric, key: StoreKey, backbone: Backbone, dataset: Dataset, protocol: Protocol, how: Extraction
) -> None:
    """One process of `fabric.world_size`: its share of the missing batches, as parts; the first one merges."""
    _full_precision()
    backbone.to(fabric.device).eval().requires_grad_(False)
    backbone.pooling = protocol.pooling_for(backbone.card)
    todo = missing_batches(len(dataset.samples), how.batch_size, list(finished_parts(key.path)))
    mine = np.array_split(np.array(todo, dtype=np.int64).reshape(-1, 2), fabric.world_size)[fabric.global_rank]
    if len(mine):
        _write_parts(fabric, key, backbone, dataset, protocol, how, [(int(a), int(b)) for a, b in mine])
    fabric.barrier()
    if fabric.global_rank == 0:
        merge(key.path, key, dataset, _about(fabric))
    fabric.barrier()


def _write_parts(
    fabric: Fabric,
    key: StoreKey,
    backbone: Backbone,
    dataset: Dataset,
    protocol: Protocol,
    how: Extraction,
    batches: list[tuple[int, int]],
) -> None:
    mean = torch.tensor(backbone.card.mean, device=fabric.device).view(-1, 1, 1)
    std = torch.tensor(backbone.card.std, device=fabric.device).view(-1, 1, 1)
    writer = PartWriter(key.path)
    total = sum(b - a for a, b in batches)
    with Bar(f"{key.model} on {key.dataset}", total, "images", visible=fabric.global_rank == 0) as bar:
        try:
            loader = _loader(dataset, backbone.card, protocol, how, batches, fabric.device.type)
            for (first, stop), (images, signatures, sides, readable) in zip(batches, loader, strict=True):
                embeddings, colours = _forward(fabric, backbone, images, mean, std)
                _refuse_non_finite(embeddings, readable, dataset.samples[first:stop])
                writer.add(
                    first,
                    {
                        "embeddings": embeddings,
                        "colour_stats": colours,
                        "signature": signatures.numpy(),
                        "short_side": sides.numpy(),
                        "readable": readable.numpy(),
                    },
                )
                bar.advance(stop - first)
                if writer.seconds > how.part_seconds:
                    writer.flush()
        finally:
            writer.flush()


def _forward(
    fabric: Fabric, backbone: Backbone, images: Tensor, mean: Tensor, std: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (B, 3, H, W) -> embeddings float32 (B, D) and colour statistics float32 (B, 6)."""
    with torch.inference_mode():
        pixels = images.to(fabric.device, non_blocking=True).float().div_(255)
        colours = colour_statistics(pixels)
        with fabric.autocast():
            embeddings = backbone(pixels.sub_(mean).div_(std))
    if embeddings.ndim != 2:
        raise EvaError(f"Expected embeddings of shape (B, D), but {backbone.card.name} gave {tuple(embeddings.shape)}.")
    return embeddings.float().cpu().numpy(), colours.cpu().numpy()


def colour_statistics(pixels: Tensor) -> Tensor:
    """Mean, then standard deviation, of each channel: pixels in 0-1, (B, 3, H, W) -> (B, 6)."""
    std, mean = torch.std_mean(pixels, dim=(2, 3), correction=0)
    return torch.cat([mean, std], dim=1)


def signature(image: np.ndarray) -> np.ndarray:
    """A thumbnail by which near-duplicates are found, whatever the model: uint8 (H, W, 3) -> grey float32 (64,)."""
    stride = max(1, min(image.shape[:2]) // 256)
    grey = torch.from_numpy(image[::stride, ::stride].astype(np.float32)).mean(-1)
    return F.adaptive_avg_pool2d(grey[None], SIGNATURE).reshape(-1).numpy()


def missing_batches(n: int, batch_size: int, done: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Batches [first, stop) of 0..n that no finished part holds."""
    covered = np.zeros(n, bool)
    for first, stop in done:
        covered[first:stop] = True
    batches = [(first, min(first + batch_size, n)) for first in range(0, n, batch_size)]
    return [(first, stop) for first, stop in batches if not covered[first:stop].all()]


class _Images(TorchDataset):
    """Decodes and transforms in the loader's workers; what cannot be read becomes a black image, marked."""

    def __init__(self, dataset: Dataset, transform: Callable[[np.ndarray], Tensor], side: int, skip: bool) -> None:
        self.dataset, self.transform, self.side, self.skip = dataset, transform, side, skip

    def __len__(self) -> int:
        return len(self.dataset.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, np.ndarray, int, bool]:
        sample = self.dataset.samples[index]
        try:
            image = self.dataset.image(sample)
            return self.transform(image), signature(image), min(image.shape[:2]), True
        except Exception as error:
            if not self.skip:
                reason = " ".join(str(error).split())
                raise Unreadable(f"{sample.id!r} ({sample.path or 'no file'}): {reason}") from error
            black = torch.zeros(3, self.side, self.side, dtype=torch.uint8)
            return black, np.zeros(SIGNATURE**2, np.float32), 0, False


class Unreadable(EvaError):
    """An image that does not decode; takes one message, because loader workers raise it anew with that alone."""

    def __init__(self, message: str) -> None:
        found = message.rpartition("Unreadable: ")[2].strip().splitlines()[-1]
        super().__init__(found)


def _loader(
    dataset: Dataset, card: ModelCard, protocol: Protocol, how: Extraction, batches: list[tuple[int, int]], device: str
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    geometry = protocol.geometry_for(card)
    images = _Images(dataset, transform_of(protocol)(geometry), geometry.crop, how.on_error == "skip")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = how.workers if how.workers is not None else (1 if device == "cpu" else min(8, cores))
    loader: DataLoader = DataLoader(
        images,
        batch_sampler=[list(range(first, stop)) for first, stop in batches],
        num_workers=min(workers, len(batches)),
        prefetch_factor=4 if workers else None,
        pin_memory=device == "cuda",
    )
    try:
        yield from loader
    except Unreadable as error:
        raise EvaError(
            f"Cannot read image {error}. Repair it, or go on without such images with --on_error skip."
        ) from error


def transform_of(protocol: Protocol) -> Callable:
    """The function that the protocol names."""
    try:
        return import_object(protocol.transform)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"Expected protocol.transform as module.function, but got {protocol.transform!r}.") from error


def _refuse_non_finite(embeddings: np.ndarray, readable: Tensor, samples: Any) -> None:
    bad = np.flatnonzero(~np.isfinite(embeddings).all(1) & readable.numpy())
    if len(bad):
        sample: Sample = samples[int(bad[0])]
        raise EvaError(
            f"Expected finite embeddings, but {sample.id!r} gave NaN or infinity. "
            "Check the weights, or use --precision fp32."
        )


def _full_precision() -> None:
    """fp32 means fp32: no TF32 anywhere (cuDNN has it on by default)."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def _about(fabric: Fabric) -> dict[str, Any]:
    device = fabric.device
    return {
        **{package: version(package) for package in ("torch", "timm", "torchvision")},
        "device": device.type,
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
    }
