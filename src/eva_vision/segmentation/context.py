"""The context that every step of an evaluation shares: a job, its store, its device."""

from dataclasses import dataclass

import numpy as np
import torch
from lightning.fabric import Fabric

from eva_core.contracts.cards import DatasetCard
from eva_core.extraction.launching import open_fabric
from eva_core.extraction.settings import PRECISIONS
from eva_core.job import Job
from eva_vision.segmentation.contracts import SegmentationDataset, SegmentationHead
from eva_vision.segmentation.features.batches import Stored
from eva_vision.segmentation.features.map_store import MapStore
from eva_vision.segmentation.features.tile_images import Cutting
from eva_vision.segmentation.protocol import Segmentation


@dataclass(frozen=True)
class Context:
    """A job on its store."""

    job: Job
    store: MapStore
    section: Segmentation
    cutting: Cutting
    fabric: Fabric

    @property
    def dataset(self) -> SegmentationDataset:
        """The dataset of the job."""
        assert isinstance(self.job.dataset, SegmentationDataset)
        return self.job.dataset

    @property
    def card(self) -> DatasetCard:
        """The card of the dataset."""
        return self.job.dataset.card

    @property
    def head(self) -> SegmentationHead:
        """The head of the job."""
        assert isinstance(self.job.head, SegmentationHead)
        return self.job.head

    @property
    def device(self) -> torch.device:
        """The device on which decoders are trained and run."""
        return self.fabric.device

    def stored(self, samples: np.ndarray, flips: bool = False) -> Stored:
        """Open the tiles of some samples."""
        tiles = self.store.tiles_of(samples)
        return Stored(self.store, tiles, self.job.backbone, self.device, self.job.how.memory_gb * 1e9, flips)


def open_context(job: Job, store: MapStore) -> Context:
    """Open a job on its store, on the device that it asks for."""
    section: Segmentation = job.resolved.section
    cutting = Cutting.of(section, job.protocol.geometry_for(job.card))
    precision = PRECISIONS[job.protocol.precision_for(job.card)]
    return Context(job, store, section, cutting, open_fabric(job.how.device, 1, precision))
