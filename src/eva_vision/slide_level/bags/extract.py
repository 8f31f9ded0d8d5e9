"""Slides x backbones -> bags: which are missing, and where they are made: here, on several devices, or over Ray."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
from lightning.fabric import Fabric

from eva_core.errors import EvaError
from eva_core.extraction.launching import open_fabric
from eva_core.extraction.pixels import refuse_partial_patches
from eva_core.extraction.settings import PRECISIONS, Extraction
from eva_core.files.cache import locked
from eva_core.progress import timed
from eva_core.store.writer import finished_parts
from eva_vision.slide_level.bags.bag_files import are_there
from eva_vision.slide_level.bags.fill import Model, Reading, fill, stage
from eva_vision.slide_level.bags.on_ray import fill_on_ray
from eva_vision.slide_level.bags.patches import Wanted
from eva_vision.slide_level.contracts import SlideFile


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
        if how.engine == "ray":
            fill_on_ray(models, reading, wanted, how)
            return _left(models, reading, how)
        for precision in dict.fromkeys(model.precision for model in models):  # each must be one that the device has
            fabric = open_fabric(how.device, how.devices, PRECISIONS[precision])
        share = partial(_share, models=models, reading=reading, wanted=wanted, how=how)
        if how.devices > 1:
            with timed(stage(models)):
                fabric.launch(share)
        else:
            share(fabric)
    return _left(models, reading, how)


def _left(models: Sequence[Model], reading: Reading, how: Extraction) -> list[SlideFile]:
    """The slides without a bag, now that all were read.

    Raises:
        EvaError: There are some, and nobody allowed that.
    """
    left = [slide.file for slide in missing_bags(models, reading)]
    if left and how.on_error != "skip":
        raise EvaError(
            f"Expected the bags of all slides in {models[0].key.folder}, but {len(left)} are missing, {left[0].name!r} "
            "first. Do the processes of the cluster share EVA_CACHE?"
        )
    return left


def missing_bags(models: Sequence[Model], reading: Reading) -> list[Wanted]:
    """The slides of which a model lacks the bag, in a fixed order; of copies of a slide, the first."""
    of_slides = [[model.key.path(file, identity) for model in models] for file, identity in reading.slides.items()]
    every = list(dict.fromkeys(path for paths in of_slides for path in paths))
    there = dict(zip(every, are_there(every), strict=True))
    wanted = []
    for (file, identity), paths in zip(reading.slides.items(), of_slides, strict=True):
        lacking = tuple(number for number, path in enumerate(paths) if not there[path])
        there |= {paths[number]: True for number in lacking}  # of copies of a slide, the first
        if lacking:
            parts = {number: [*finished_parts(paths[number]).values()] for number in lacking}
            known = {number: np.unique(np.concatenate(rows)) for number, rows in parts.items() if rows}
            wanted.append(Wanted(file, identity, lacking, known))
    return wanted


def _share(
    fabric: Fabric, models: Sequence[Model], reading: Reading, wanted: Sequence[Wanted], how: Extraction
) -> None:
    """One process of `fabric.world_size`: its share of the slides."""
    own = wanted[fabric.global_rank :: fabric.world_size]
    if own:
        fill(fabric.device, models, reading, own, how, fabric.global_rank == 0)
    fabric.barrier()
