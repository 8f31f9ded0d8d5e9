"""Reading slides and writing their bags, in one process: each patch is decoded once for all models."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from eva_core.accelerator import is_gpu
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError
from eva_core.extraction.embed import embedded
from eva_core.extraction.engine import prepare
from eva_core.extraction.pixels import transform_of
from eva_core.extraction.settings import Extraction, loader_workers
from eva_core.progress import Bar, say
from eva_core.worker_processes import loader_context, spawn_context
from eva_vision.slide_level.bags.bag_files import BagWriter
from eva_vision.slide_level.bags.bag_key import BagKey
from eva_vision.slide_level.bags.patches import BagPatches, Batch, Begin, End, Wanted
from eva_vision.slide_level.contracts import SlideFile
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slides.index import Index
from eva_vision.slides.reading.blobs import is_url
from eva_vision.slides.reading.shifted import SlideShift

DTYPES: dict[str, np.dtype[Any]] = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16)}


@dataclass(frozen=True)
class Model:
    """A model that reads the patches.

    Attributes:
        key: Key of its bags.
        backbone: The model.
        protocol: Its preprocessing, pooling and precision.
        name: Its name, as the user knows it.
    """

    key: BagKey
    backbone: Backbone
    protocol: Protocol
    name: str

    @property
    def precision(self) -> str:
        """Precision of the forward pass: `fp32`, `bf16` or `fp16`."""
        return self.protocol.precision_for(self.backbone.card)

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context in which it computes on a device."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(device.type, dtype, enabled=self.precision != "fp32")


@dataclass(frozen=True)
class Reading:
    """How slides are read: which, with their identities, and in which layout of patches.

    Attributes:
        slides: Identity of each slide.
        section: The layout, and what embeddings are kept in.
        index: An index that has all of the slides; None: each is looked at.
        shift: A change of acquisition; None: slides are read as they are.
    """

    slides: Mapping[SlideFile, str]
    section: SlideLevel
    index: Index | None = None
    shift: SlideShift | None = None


def stage(models: Sequence[Model]) -> str:
    """What is done, for people to read."""
    names = [model.name for model in models]
    return f"{' and '.join(names) if len(names) < 4 else f'{len(names)} models'} on slides"


def fill(
    device: torch.device,
    models: Sequence[Model],
    reading: Reading,
    wanted: Sequence[Wanted],
    how: Extraction,
    visible: bool = True,
) -> None:
    """Read slides and write their bags, one after another.

    Args:
        device: Where the models run.
        models: Each slide is read once for all of them.
        reading: How slides are read.
        wanted: The slides, and what is missing of each.
        how: Batch size, workers, and what happens to a slide that does not read.
        visible: Whether progress is shown.
    Raises:
        EvaError: A slide cannot be read (names it), or an embedding is not finite.
    """
    for model in models:
        prepare(model.backbone, model.protocol, device)
    writers: dict[tuple[int, int], BagWriter] = {}
    with Bar(stage(models), len(wanted), "slides", visible=visible) as bar:
        try:
            for message in _messages(models, reading, wanted, how, device):
                slide = wanted[message.slide]
                if isinstance(message, Begin):
                    for number in slide.models:
                        path = models[number].key.path(slide.file, slide.identity)
                        facts = {**message.facts, "device": device.type}
                        dtype = DTYPES[reading.section.precision]
                        writers[message.slide, number] = BagWriter(path, message.places, dtype, facts, how.part_seconds)
                elif isinstance(message, Batch):
                    for number, images in message.images.items():
                        model = models[number]
                        values = embedded(device, model.autocast(device), model.backbone, images)
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
    models: Sequence[Model], reading: Reading, wanted: Sequence[Wanted], how: Extraction, device: torch.device
) -> Iterator[Begin | Batch | End]:
    transforms = [transform_of(m.protocol)(m.protocol.geometry_for(m.backbone.card)) for m in models]
    patches = BagPatches(wanted, reading.section, transforms, how.batch_size, reading.index, reading.shift)
    workers = min(loader_workers(how, device.type), len(wanted))
    remote = any(is_url(slide.file.path) for slide in wanted)
    context = spawn_context() if remote else loader_context()  # connections of this process do not survive a fork
    loader: DataLoader[Any] = DataLoader(
        patches,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context=context if workers else None,
        pin_memory=is_gpu(device),
    )
    yield from loader
