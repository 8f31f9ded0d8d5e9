"""Micrometres per pixel of images, and of what reached the model."""

import numpy as np

from eva_core.contracts.results import Magnification
from eva_core.job import Job
from eva_core.store.store import Store


def reached_mpp(job: Job, store: Store, split: str) -> Magnification:
    """Micrometres per pixel of the files, and of what reached the model: median over the images of a split."""
    native = job.dataset.card.mpp
    if native is None:
        return {"native": None, "reached": None}
    sides = store.read(store.rows(split), "short_side")
    resize = job.protocol.geometry_for(job.card).resize
    return {"native": native, "reached": native * float(np.median(sides)) / resize}
