"""A store filled row by row on one device or several; what a kill left is gone on from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from eva_core.accelerator import device_name, is_gpu
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.dataset import Sample
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError, UsageError
from eva_core.extraction.launching import open_fabric
from eva_core.extraction.settings import PRECISIONS, Extraction, loader_workers
from eva_core.progress import Bar, timed
from eva_core.store.reuse import CONTENT, take_over
from eva_core.store.store import StoreKey
from eva_core.store.writer import PartWriter, finished_parts, missing_rows
from eva_core.worker_processes import loader_context

PART_BYTES = 2**28  # a part is also written once it holds so much, so that memory is bounded


def refuse_skipped(skipped: Sequence[str], how: Extraction) -> None:
    """Refuse embeddings or results that left images out, but for those who allow it.

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
        title: What is done, for the progress: names as the user knows them.
        unit: What a row is, for the progress.
    """

    key: StoreKey
    backbone: Backbone
    protocol: Protocol
    items: TorchDataset[tuple[Any, ...]]
    ids: Sequence[str]
    contents: np.ndarray
    forward: Forward
    finish: Callable[[dict[str, Any]], None]
    title: str
    unit: str = "images"


def run(work: Work, how: Extraction, tell: Callable[[str], None]) -> None:
    """Take over the rows that earlier stores have, compute the others on the devices asked for, and join them."""
    if not work.ids:
        raise UsageError(f"Expected images in dataset {work.key.dataset!r}, but it is empty.")
    if how.engine != "local":
        raise UsageError(f"Expected --engine local for {work.unit}, but got {how.engine}. It is for tasks on slides.")
    precision = work.protocol.precision_for(work.backbone.card)
    fabric = open_fabric(how.device, how.devices, PRECISIONS[precision])
    if precision == "fp16" and fabric.device.type == "cpu":
        tell("fp16 takes a CPU 5 to 30 times as long as fp32.")
    taken = take_over(work.key, work.contents, _missing(work))
    if taken:
        tell(f"{taken} of {len(work.ids)} {work.unit} are known from earlier: only the others pass the model.")
    share = partial(_run, work=work, how=how)
    if how.devices > 1:
        with timed(work.title):  # the first process shows it
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
    """Freeze a model, move it to its device, and set its pooling."""
    full_precision()
    backbone.to(device).eval().requires_grad_(False)
    backbone.pooling = protocol.pooling_for(backbone.card)


def full_precision() -> None:
    """Turn TF32 off everywhere, so that fp32 means fp32 (cuDNN has it on by default)."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def _write_parts(fabric: Fabric, work: Work, how: Extraction, batches: list[np.ndarray]) -> None:
    writer = PartWriter(work.key.path, work.key.base)
    total = sum(map(len, batches))
    precision = work.protocol.precision_for(work.backbone.card)
    with Bar(work.title, total, work.unit, visible=fabric.global_rank == 0) as bar:
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


def _missing(work: Work) -> np.ndarray:
    """Numbers of the rows that no finished part holds, ascending."""
    return missing_rows(finished_parts(work.key.path), len(work.ids))


def batches_of(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Rows in batches, in order; the last of them may be smaller."""
    return [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]


class Unreadable(EvaError):
    """An image that does not decode; takes one message, because loader workers raise it anew with that alone."""

    def __init__(self, message: str) -> None:
        line = message.rpartition("Unreadable: ")[2].strip().splitlines()[-1]
        super().__init__(line)


def unreadable(sample: Sample, error: Exception) -> Unreadable:
    """Say in a line which image does not decode, and why."""
    reason = " ".join(str(error).split()).rstrip(".")  # what to do next follows
    return Unreadable(f"{sample.id!r} ({sample.path or 'no file'}): {reason}")


def _loader(work: Work, how: Extraction, batches: list[np.ndarray], device: torch.device) -> Iterator[Sequence[Tensor]]:
    workers = loader_workers(how, device.type)
    loader = DataLoader(
        work.items,
        batch_sampler=[rows.tolist() for rows in batches],
        num_workers=min(workers, len(batches)),
        prefetch_factor=4 if workers else None,
        multiprocessing_context=loader_context() if workers else None,
        pin_memory=is_gpu(device),
    )
    try:
        yield from loader
    except Unreadable as error:
        raise EvaError(
            f"Cannot read image {error}. Repair it, or go on without such images with --on_error skip."
        ) from error


def _refuse_non_finite(values: np.ndarray, readable: Tensor, ids: Sequence[str], precision: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1) & readable.numpy())
    if len(bad):
        advice = "Check the weights" + ("" if precision == "fp32" else ", or use --precision fp32")
        if values.dtype == np.float16 and not np.isnan(values[bad]).any():
            advice = "They are kept in float16, up to 65,504: take another layer"
        raise EvaError(f"Expected finite embeddings, but {ids[int(bad[0])]!r} gave NaN or infinity. {advice}.")


def _about(fabric: Fabric) -> dict[str, Any]:
    device = fabric.device
    return {
        **{package: version(package) for package in ("torch", "timm", "torchvision")},
        "device": device.type,
        "processor": device_name(device),
        "threads": torch.get_num_threads(),
    }
