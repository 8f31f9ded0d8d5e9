"""What every step of an evaluation shares."""

from dataclasses import dataclass

import numpy as np
import torch
from lightning.fabric import Fabric

from eva_core.config.parser import published
from eva_core.contracts.protocol import Protocol, Segmentation
from eva_core.extraction.embed import PRECISIONS, Extraction
from eva_core.extraction.launching import open_fabric
from eva_core.task import Job
from eva_core.types import Dataset, DatasetCard, SegmentationDataset, SegmentationHead
from eva_vision.segmentation.features.batches import Stored
from eva_vision.segmentation.features.map_store import MapStore
from eva_vision.segmentation.features.tile_images import Cutting


@dataclass(frozen=True)
class Setting:
    """A job on its store."""

    job: Job
    store: MapStore
    rules: Segmentation
    cutting: Cutting
    fabric: Fabric
    how: Extraction

    @property
    def dataset(self) -> SegmentationDataset:
        assert isinstance(self.job.dataset, SegmentationDataset)
        return self.job.dataset

    @property
    def card(self) -> DatasetCard:
        return self.job.dataset.card

    @property
    def head(self) -> SegmentationHead:
        assert isinstance(self.job.head, SegmentationHead)
        return self.job.head

    @property
    def device(self) -> torch.device:
        return self.fabric.device

    def stored(self, samples: np.ndarray, flips: bool = False) -> Stored:
        """The tiles of some samples."""
        tiles = self.store.tiles_of(samples)
        return Stored(self.store, tiles, self.job.backbone, self.device, self.how.memory_gb * 1e9, flips)


def rules_for(protocol: Protocol, dataset: Dataset) -> Segmentation:
    """The rules for a dataset; what was asked for beyond the protocol as shipped holds for every one."""
    return protocol.segmentation_for(dataset.card.name, published(protocol.name))


def setting(job: Job, store: MapStore, how: Extraction) -> Setting:
    """Put together."""
    rules = rules_for(job.protocol, job.dataset)
    cutting = Cutting.of(rules, job.protocol.geometry_for(job.backbone.card))
    precision = PRECISIONS[job.protocol.precision_for(job.backbone.card)]
    return Setting(job, store, rules, cutting, open_fabric(how.device, 1, precision), how)
