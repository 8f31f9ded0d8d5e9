"""Dataset x backbone -> embedding store: the one place where a foundation model runs."""

import math
import os
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

from eva_core.accelerator import device_name, is_gpu
from eva_core.contracts import pixels_of, refuse_other_than
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError, UsageError, refuse
from eva_core.extraction.launching import open_fabric
from eva_core.identity import qualified_name, version_of
from eva_core.progress import Bar, say
from eva_core.registry import import_object
from eva_core.store.reuse import CONTENT, contents_of, refuse_changed, take_over
from eva_core.store.store import Store, StoreKey, store_at
from eva_core.store.writer import PartWriter, finished_parts, merge, missing_rows
from eva_core.types import Backbone, Dataset, ModelCard, Sample, sha256_of_weights

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
SIGNATURE = 32
PART_BYTES = 2**28  # a part is also written once it holds so much, so that memory is bounded


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
        online: Run the backbone in every step of training a segmentation head, so that images are augmented, not
            feature maps; None: only where the protocol crops images at random.
        memory_gb: Feature maps held in memory while segmentation heads are trained.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    batch_size: int = 32
    workers: int | None = None
    on_error: Literal["raise", "skip"] = "raise"
    part_seconds: float = 10.0
    online: bool | None = None
    memory_gb: float = 4.0

    def __post_init__(self) -> None:
        refuse(
            (self.devices < 1, "--devices of at least 1", self.devices),
            (self.batch_size < 1, "--batch_size of at least 1", self.batch_size),
            (self.workers is not None and self.workers < 0, "--workers of at least 0", self.workers),
            (not 0 <= self.part_seconds < math.inf, "--part_seconds of at least 0", self.part_seconds),
            (not 0 < self.memory_gb < math.inf, "--memory_gb above 0", self.memory_gb),
        )


def preprocessing(protocol: Protocol, card: ModelCard) -> dict[str, Any]:
    """All that happens to pixels before the weights see them, and to tokens after."""
    return {
        "transform": qualified_name(transform_of(protocol)),
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
) -> Store:
    """The embeddings of every sample, from the cache where it has them.

    Args:
        key: From `store_key`.
        tell: Receives lines for the user.
    Raises:
        EvaError: An image cannot be read (names it), or an embedding is not finite (names the id).
    """
    geometry = protocol.geometry_for(backbone.card)
    refuse_partial_patches(geometry.crop, backbone)
    images = _Images(dataset, transform_of(protocol)(geometry), geometry.crop, how.on_error == "skip")

    def make() -> None:
        ids, contents = [s.id for s in dataset.samples], contents_of(dataset)
        finish = partial(_finish, key, dataset, contents)
        run(Work(key, backbone, protocol, images, ids, contents, _embed, finish), how, tell)

    store = store_at(key.path, Store, make, tell)
    refuse_skipped(store.skipped, how)
    return store


def _finish(key: StoreKey, dataset: Dataset, contents: np.ndarray, about: dict[str, Any]) -> None:
    refuse_changed(key, dataset, np.arange(len(contents)), contents)
    merge(key.path, key, dataset, about)


def refuse_partial_patches(side: int, backbone: Backbone) -> None:
    """A side that is no multiple of the patch would fail in the first batch."""
    patch = backbone.card.patch_size or 1
    if side % patch:
        raise UsageError(f"Expected protocol.geometry.crop as a multiple of the patch, {patch}, but got {side}.")


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


Forward = Callable[[Fabric, Backbone, Sequence[Tensor]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Work:
    """A store to be filled, row by row.

    Attributes:
        items: Gives for each row its uint8 image (3, H, W), what else `forward` wants, and whether it could be read.
        ids: Name of each row, for messages.
        contents: What decides each row, from `eva_core.store.reuse`, uint8 (n, 32).
        forward: One batch of items -> named rows, the first of them from the backbone.
        finish: Makes the store of finished parts, given facts on versions and device.
        unit: What a row is, for the progress.
    """

    key: StoreKey
    backbone: Backbone
    protocol: Protocol
    items: TorchDataset
    ids: Sequence[str]
    contents: np.ndarray
    forward: Forward
    finish: Callable[[dict[str, Any]], None]
    unit: str = "images"


def run(work: Work, how: Extraction, tell: Callable[[str], None]) -> None:
    """Take over the rows that earlier stores have, compute the others on the devices asked for, and join them."""
    if not work.ids:
        raise UsageError(f"Expected images in dataset {work.key.dataset!r}, but it is empty.")
    precision = work.protocol.precision_for(work.backbone.card)
    fabric = open_fabric(how.device, how.devices, PRECISIONS[precision])
    if precision == "fp16" and fabric.device.type == "cpu":
        tell("fp16 takes a CPU 5 to 30 times as long as fp32.")
    taken = take_over(work.key, work.contents, _missing(work))
    if taken:
        tell(f"{taken} of {len(work.ids)} {work.unit} are known from earlier: only the others pass the model.")
    share = partial(_run, work=work, how=how)
    if how.devices > 1:
        fabric.launch(share)  # bound beforehand: Fabric takes arguments apart and trips over frozen dataclasses
    else:
        share(fabric)


def _run(fabric: Fabric, work: Work, how: Extraction) -> None:
    """One process of `fabric.world_size`: its share of the missing batches, as parts; the first one merges."""
    prepare(work.backbone, work.protocol, fabric.device)
    todo = batches_of(_missing(work), how.batch_size)
    share = np.array_split(np.arange(len(todo)), fabric.world_size)[fabric.global_rank]
    if len(share):
        _write_parts(fabric, work, how, [todo[i] for i in share])
    fabric.barrier()
    if fabric.global_rank == 0:
        work.finish(_about(fabric))
    fabric.barrier()


def prepare(backbone: Backbone, protocol: Protocol, device: torch.device) -> None:
    """Frozen, on its device, pooled as asked."""
    full_precision()
    backbone.to(device).eval().requires_grad_(False)
    backbone.pooling = protocol.pooling_for(backbone.card)


def full_precision() -> None:
    """fp32 means fp32: no TF32 anywhere (cuDNN has it on by default)."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def _write_parts(fabric: Fabric, work: Work, how: Extraction, batches: list[np.ndarray]) -> None:
    writer = PartWriter(work.key.path, work.key.base)
    total = sum(map(len, batches))
    precision = work.protocol.precision_for(work.backbone.card)
    with Bar(f"{work.key.model} on {work.key.dataset}", total, work.unit, visible=fabric.global_rank == 0) as bar:
        try:
            for rows, batch in zip(batches, _loader(work, how, batches, fabric.device), strict=True):
                values = work.forward(fabric, work.backbone, batch)
                _refuse_non_finite(next(iter(values.values())), batch[-1], [work.ids[row] for row in rows], precision)
                writer.add(rows, {**values, CONTENT: work.contents[rows]})
                bar.advance(len(rows))
                if writer.seconds > how.part_seconds or writer.bytes > PART_BYTES:
                    writer.flush()
        finally:
            writer.flush()


def _embed(fabric: Fabric, backbone: Backbone, batch: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """Items of `_Images` -> embeddings float32 (B, D), colour statistics float32 (B, 6), and what is passed on."""
    images, signatures, sides, readable = batch
    with torch.inference_mode():
        pixels = images.to(fabric.device, non_blocking=True).float().div_(255)
        colours = colour_statistics(pixels)
        with fabric.autocast():
            embeddings = backbone(normalised(pixels, backbone))
    refuse_other_than("(B, D)", embeddings, images, backbone)
    return {
        "embeddings": embeddings.float().cpu().numpy(),
        "colour_stats": colours.cpu().numpy(),
        "signature": signatures.numpy(),
        "short_side": sides.numpy(),
        "readable": readable.numpy(),
    }


def normalised(pixels: Tensor, backbone: Backbone) -> Tensor:
    """Pixels in 0-1, (B, 3, H, W), by the mean and standard deviation of the card, in place."""
    mean, std = (torch.tensor(v, device=pixels.device).view(-1, 1, 1) for v in (backbone.card.mean, backbone.card.std))
    return pixels.sub_(mean).div_(std)


def colour_statistics(pixels: Tensor) -> Tensor:
    """Mean, then standard deviation, of each channel: pixels in 0-1, (B, 3, H, W) -> (B, 6)."""
    std, mean = torch.std_mean(pixels, dim=(2, 3), correction=0)
    return torch.cat([mean, std], dim=1)


def signature(image: np.ndarray) -> np.ndarray:
    """A thumbnail by which near-duplicates are found, whatever the model: uint8 (H, W, 3) -> grey float16 (1024,)."""
    stride = max(1, min(image.shape[:2]) // 256)
    grey = torch.from_numpy(image[::stride, ::stride].astype(np.float32)).mean(-1)
    return F.adaptive_avg_pool2d(grey[None], SIGNATURE).reshape(-1).half().numpy()


def _missing(work: Work) -> np.ndarray:
    """Numbers of the rows that no finished part holds, ascending."""
    return missing_rows(finished_parts(work.key.path), len(work.ids))


def batches_of(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Rows in batches, in order; the last of them may be smaller."""
    return [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]


class _Images(TorchDataset):
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


class Unreadable(EvaError):
    """An image that does not decode; takes one message, because loader workers raise it anew with that alone."""

    def __init__(self, message: str) -> None:
        found = message.rpartition("Unreadable: ")[2].strip().splitlines()[-1]
        super().__init__(found)


def unreadable(sample: Sample, error: Exception) -> Unreadable:
    reason = " ".join(str(error).split()).rstrip(".")  # what to do next follows
    return Unreadable(f"{sample.id!r} ({sample.path or 'no file'}): {reason}")


def _loader(work: Work, how: Extraction, batches: list[np.ndarray], device: torch.device) -> Iterator[Sequence[Tensor]]:
    workers = loader_workers(how, device.type)
    loader: DataLoader = DataLoader(
        work.items,
        batch_sampler=[rows.tolist() for rows in batches],
        num_workers=min(workers, len(batches)),
        prefetch_factor=4 if workers else None,
        pin_memory=is_gpu(device),
    )
    try:
        yield from loader
    except Unreadable as error:
        raise EvaError(
            f"Cannot read image {error}. Repair it, or go on without such images with --on_error skip."
        ) from error


def loader_workers(how: Extraction, device: str) -> int:
    """Loader processes: as asked for, else as many as help."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return how.workers if how.workers is not None else (1 if device == "cpu" else min(8, cores))


def transform_of(protocol: Protocol) -> Callable:
    """The function that the protocol names."""
    try:
        return import_object(protocol.transform)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"Expected protocol.transform as module.function, but got {protocol.transform!r}.") from error


def _refuse_non_finite(values: np.ndarray, readable: Tensor, ids: Sequence[str], precision: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1) & readable.numpy())
    if len(bad):
        advice = "Check the weights" + ("" if precision == "fp32" else ", or use --precision fp32")
        if values.dtype == np.float16 and not np.isnan(values[bad]).any():
            advice = "Maps are kept in float16, up to 65,504: take another layer with --protocol.segmentation.layers"
        raise EvaError(f"Expected finite embeddings, but {ids[int(bad[0])]!r} gave NaN or infinity. {advice}.")


def _about(fabric: Fabric) -> dict[str, Any]:
    device = fabric.device
    return {
        **{package: version(package) for package in ("torch", "timm", "torchvision")},
        "device": device.type,
        "processor": device_name(device),
        "threads": torch.get_num_threads(),
    }
