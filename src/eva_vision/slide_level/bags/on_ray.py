"""Bags over a Ray cluster that shares files and cache with this process: the same, to the bit, as those made here."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from eva_core.accelerator import gpus
from eva_core.errors import EvaError
from eva_core.extraction.launching import on_cpu, open_fabric
from eva_core.extraction.settings import Extraction
from eva_core.files.cache import cache_root
from eva_core.progress import Bar
from eva_core.ray_cluster import each_on_ray
from eva_vision.slide_level.bags.fill import Model, Reading, fill, stage
from eva_vision.slide_level.bags.patches import Wanted

_SLIDES = 4
"""Slides that a task of the cluster takes: enough to be worth sending a model, few enough that a death costs little."""
_TRIES = 3


@dataclass(frozen=True)
class _Here:
    """What the processes of a cluster must do as this one: where bags lie, and torch's number of threads."""

    cache: str
    threads: int


def fill_on_ray(models: Sequence[Model], reading: Reading, wanted: Sequence[Wanted], how: Extraction) -> None:
    """Read slides and write their bags in processes of a cluster; slides of one that died are done again.

    Args:
        models: Each slide is read once for all of them.
        reading: How slides are read.
        wanted: The slides.
        how: Device and the like; `address` is that of the cluster.
    Raises:
        EvaError: A slide cannot be read, or processes die again and again.
        UsageError: Ray is not installed.
    """
    todo = [tuple(wanted[first : first + _SLIDES]) for first in range(0, len(wanted), _SLIDES)]
    # as many threads as here: products are then rounded alike
    here = _Here(str(cache_root()), torch.get_num_threads())
    work = partial(_fill, models=models, reading=reading, how=how, here=here)
    wants_gpu = 0 if on_cpu(how.device) or not gpus() else 1
    with Bar(f"{stage(models)} over Ray", len(wanted), "slides") as bar:
        for _ in range(_TRIES):
            died: list[tuple[Wanted, ...]] = []
            for part, outcome in each_on_ray(work, todo, gpus=wants_gpu, address=how.address):
                if isinstance(outcome, EvaError):
                    raise outcome
                if isinstance(outcome, Exception):
                    died.append(part)
                else:
                    bar.advance(len(part))
            if not died:
                return
            todo = died
    raise EvaError(
        f"Expected processes that live, but those that read {died[0][0].file.name!r} died {_TRIES} times. Give them "
        "more memory, or leave the slide out."
    )


def _fill(part: Sequence[Wanted], models: Sequence[Model], reading: Reading, how: Extraction, here: _Here) -> None:
    os.environ["EVA_CACHE"] = here.cache  # the process may have been started by somebody else
    torch.set_num_threads(here.threads)
    fill(open_fabric(how.device, 1, "32-true").device, models, reading, part, how, visible=False)
