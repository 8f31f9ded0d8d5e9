"""Slides x backbones -> bags: each patch is read once, whatever the number of models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric import Fabric
from torch.utils.data import DataLoader

from eva_core.accelerator import is_gpu
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError
from eva_core.extraction.embed import embedded
from eva_core.extraction.engine import prepare
from eva_core.extraction.launching import open_fabric
from eva_core.extraction.pixels import refuse_partial_patches, transform_of
from eva_core.extraction.settings import PRECISIONS, Extraction, loader_workers
from eva_core.files.cache import locked
from eva_core.progress import Bar, say, timed
from eva_core.store.writer import finished_parts
from eva_core.worker_processes import loader_context
from eva_vision.slide_level.bags.bag_files import BagWriter, is_there
from eva_vision.slide_level.bags.bag_key import BagKey
from eva_vision.slide_level.bags.patches import BagPatches, Batch, Begin, End, Wanted
from eva_vision.slide_level.contracts import SlideFile
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slides.index import Index

DTYPES: dict[str, np.dtype[Any]] = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16)}


@dataclass(frozen=True)
class Model:
    """A model that reads the patches.

    Attributes:
        key: Key of its bags.
        backbone: The model.
        protocol: Its preprocessing, pooling and precision.
    """

    key: BagKey
    backbone: Backbone
    protocol: Protocol


@dataclass(frozen=True)
class Reading:
    """What is read: slides with their identities, laid out in one way."""

    slides: Mapping[SlideFile, str]
    section: SlideLevel
    index: Index | None = None


def extract_bags(
    models: Sequence[Model], reading: Reading, how: Extraction, tell: Callable[[str], None]
) -> list[SlideFile]:
    """Make the bags that are missing.

    Args:
        models: Each slide is read once for all of them.
        reading: The slides.
        how: Device, batch size and the like.
        tell: Receives lines for the user.
    Returns:
        The slides that could not be read; none but under `on_error: skip`.
    Raises:
        EvaError: A slide cannot be read (names it), or an embedding is not finite.
    """
    for model in models:
        refuse_partial_patches(model.protocol.geometry_for(model.backbone.card).crop, model.backbone)
    with ExitStack() as held:
        for folder in sorted({model.key.folder for model in models}):
            held.enter_context(locked(folder, tell, f"bags in {folder.name}"))
        wanted = missing_bags(models, reading)
        if not wanted:
            return []
        fabric = open_fabric(how.device, how.devices, PRECISIONS[_precision(models)])
        share = partial(_share, models=models, reading=reading, wanted=wanted, how=how)
        if how.devices > 1:
            with timed(_stage(models)):
                fabric.launch(share)
        else:
            share(fabric)
    return [slide.file for slide in missing_bags(models, reading)]


def missing_bags(models: Sequence[Model], reading: Reading) -> list[Wanted]:
    """The slides of which a model lacks the bag, in a fixed order; of copies of a slide, the first."""
    wanted, claimed = [], set[Path]()
    for file, identity in reading.slides.items():
        paths = {number: model.key.path(file, identity) for number, model in enumerate(models)}
        lacking = tuple(number for number, path in paths.items() if path not in claimed and not is_there(path))
        claimed |= {paths[number] for number in lacking}
        if lacking:
            parts = {number: [*finished_parts(paths[number]).values()] for number in lacking}
            known = {number: np.unique(np.concatenate(rows)) for number, rows in parts.items() if rows}
            wanted.append(Wanted(file, identity, lacking, known))
    return wanted


def _precision(models: Sequence[Model]) -> str:
    return models[0].protocol.precision_for(models[0].backbone.card)


def _stage(models: Sequence[Model]) -> str:
    return f"{' and '.join(model.backbone.name for model in models)} on slides"


def _share(
    fabric: Fabric, models: Sequence[Model], reading: Reading, wanted: Sequence[Wanted], how: Extraction
) -> None:
    """One process of `fabric.world_size`: its share of the slides."""
    own = wanted[fabric.global_rank :: fabric.world_size]
    if own:
        fill(fabric, models, reading, own, how)
    fabric.barrier()


def fill(fabric: Fabric, models: Sequence[Model], reading: Reading, wanted: Sequence[Wanted], how: Extraction) -> None:
    """Read slides and write their bags, one after another."""
    for model in models:
        prepare(model.backbone, model.protocol, fabric.device)
    writers: dict[tuple[int, int], BagWriter] = {}
    with Bar(_stage(models), len(wanted), "slides", visible=fabric.global_rank == 0) as bar:
        try:
            for message in _messages(models, reading, wanted, how, fabric):
                slide = wanted[message.slide]
                if isinstance(message, Begin):
                    for number in slide.models:
                        path = models[number].key.path(slide.file, slide.identity)
                        facts = {**message.facts, "device": fabric.device.type}
                        dtype = DTYPES[reading.section.precision]
                        writers[message.slide, number] = BagWriter(path, message.places, dtype, facts, how.part_seconds)
                elif isinstance(message, Batch):
                    for number, images in message.images.items():
                        values = embedded(fabric, models[number].backbone, images)
                        writers[message.slide, number].add(message.rows, values)
                else:
                    own = [writers.pop(place) for place in [*writers] if place[0] == message.slide]
                    if message.error and how.on_error != "skip":
                        raise EvaError(
                            f"Cannot read slide {slide.file.name!r}: {message.error.rstrip('.')}. "
                            "Repair it, or go on without such slides with --on_error skip."
                        )
                    if message.error:
                        say(f"{slide.file.name}: {message.error}")
                        continue
                    for writer in own:
                        writer.finish()
                    bar.advance(1)
        finally:
            for writer in writers.values():
                writer.keep()


def _messages(
    models: Sequence[Model], reading: Reading, wanted: Sequence[Wanted], how: Extraction, fabric: Fabric
) -> Iterator[Begin | Batch | End]:
    transforms = [transform_of(m.protocol)(m.protocol.geometry_for(m.backbone.card)) for m in models]
    patches = BagPatches(wanted, reading.section, transforms, how.batch_size, reading.index)
    workers = min(loader_workers(how, fabric.device.type), len(wanted))
    loader: DataLoader[Any] = DataLoader(
        patches,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context=loader_context() if workers else None,
        pin_memory=is_gpu(fabric.device),
    )
    yield from loader
