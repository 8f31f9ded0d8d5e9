"""Segmentation by dense features, as a task."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from eva_core.classification.evaluation import refuse_unfit
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.evaluation.class_checks import refuse_one_class_by_two_names
from eva_core.extraction.embed import Extraction
from eva_core.files.atomic_files import make_folder, write_bytes, write_text
from eva_core.files.file_names import below
from eva_core.store.store import StoreKey
from eva_core.task import Answer, Job, Task
from eva_core.types import Backbone, Dataset, SegmentationDataset, SegmentationHead
from eva_vision.images import SUFFIXES
from eva_vision.segmentation.context import rules_for, setting
from eva_vision.segmentation.decoders.run_checkpoints import forget
from eva_vision.segmentation.evaluation import decoder_of, evaluate
from eva_vision.segmentation.features.feature_maps import extract_maps, maps_key
from eva_vision.segmentation.features.map_store import MapStore
from eva_vision.segmentation.features.tiles import rescale_labels
from eva_vision.segmentation.scoring.overlays import colours_of
from eva_vision.segmentation.scoring.scoring import predicted


class SegmentationTask(Task):
    """A class for every pixel."""

    head = SegmentationHead

    def refuse(self, job: Job, how: Extraction) -> None:
        dataset = _checked(job.dataset)
        refuse_unfit(dataset, [s.id for s in dataset.samples if not dataset.labelled(s)], "mask")
        refuse_one_class_by_two_names(dataset.card.classes, {})
        if how.online is False and "crops" in rules_for(job.protocol, dataset).augment:
            raise UsageError(
                f"Expected the backbone in the loop, as {job.protocol.name} crops {dataset.card.name} at random, but "
                "got --online false. Use eva-0.4-offline, or leave it out."
            )

    def refuse_applying(self, job: Job) -> None:
        if not rules_for(job.protocol, job.dataset).stitch:
            raise UsageError(
                f"Expected a protocol that stitches tiles to whole masks, but {job.protocol.name} does not here. "
                "Fit the heads with --protocol strict."
            )

    def key(self, backbone: Backbone, dataset: Dataset, protocol: Protocol) -> StoreKey:
        return maps_key(backbone, _checked(dataset), protocol, rules_for(protocol, dataset))

    def extract(
        self,
        key: StoreKey,
        backbone: Backbone,
        dataset: Dataset,
        protocol: Protocol,
        how: Extraction,
        tell: Callable[[str], None],
    ) -> MapStore:
        return extract_maps(key, backbone, _checked(dataset), protocol, rules_for(protocol, dataset), how, tell)

    def evaluate(self, job: Job, store: MapStore, how: Extraction, folder: Path, key: str) -> Answer:
        return evaluate(setting(job, store, how), folder, key)

    def tidy(self, folder: Path) -> None:
        forget(folder)

    def apply(
        self,
        job: Job,
        store: MapStore,
        heads: dict[int, dict[str, Tensor]],
        classes: list[str],
        how: Extraction,
        output: Path,
    ) -> Path:
        """Write a mask for every image, of its own size: PNG with a palette; classes.txt names the labels."""
        at = setting(job, store, how)
        decoders = [decoder_of(at, params, len(classes)) for params in heads.values()]
        for unit, mask in predicted(at, decoders, np.flatnonzero(store.readable)):
            whole = Image.fromarray(rescale_labels(mask, at.dataset.size(at.dataset.samples[unit.sample])), "P")
            whole.putpalette(colours_of(len(classes), at.card.background))
            name = Path(unit.id)  # an id may end like a file, or in an mpp
            bare = name.with_suffix("") if name.suffix.lower() in SUFFIXES else name
            path = below(output / "masks", f"{bare}.png")
            make_folder(path.parent)
            content = io.BytesIO()
            whole.save(content, "PNG")
            write_bytes(path, content.getvalue())
        write_text(output / "classes.txt", "\n".join(classes) + "\n")
        return output / "masks"


def _checked(dataset: Dataset) -> SegmentationDataset:
    if not isinstance(dataset, SegmentationDataset):
        raise UsageError(
            f"Expected a SegmentationDataset for task segmentation, but {dataset.card.name!r} is another. "
            "Derive it from eva_core.types.SegmentationDataset."
        )
    return dataset
