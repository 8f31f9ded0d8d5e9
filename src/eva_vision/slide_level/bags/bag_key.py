"""What a bag depends on: the slide, the patches, the model and what it is given; never the dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva_core.contracts.backbone import Backbone, sha256_of_weights
from eva_core.contracts.protocol import Protocol
from eva_core.extraction.pixels import preprocessing
from eva_core.files.cache import cache_root
from eva_core.files.file_names import LONGEST, as_name
from eva_core.identity import digest, qualified_name, version_of
from eva_core.store.store import StoreKey
from eva_vision.slide_level.contracts import SlideDataset, SlideFile
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slides import tissue_detection
from eva_vision.slides.reading.shifted import SlideShift

VERSION = 2
"""Raise it whenever the same settings choose or read other patches."""


@dataclass(frozen=True)
class BagKey:
    """What all bags of a model under a protocol share.

    Attributes:
        model: Name of the model.
        content: Weights, preprocessing and sampling.
    """

    model: str
    content: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The folder of the bags in the cache."""
        return cache_root() / "bags" / f"{as_name(self.model)[:LONGEST]}-{digest(self.content)[:12]}"

    def path(self, file: SlideFile, identity: str) -> Path:
        """The file of the bag of a slide.

        Args:
            file: The slide; what its manifest calls it changes nothing.
            identity: From `SlideDataset.identities`.
        """
        name = digest({"slide": identity, "mpp": file.mpp})
        return self.folder / name[:2] / f"{name[:24]}.h5"


def bag_key(backbone: Backbone, protocol: Protocol, section: SlideLevel, shift: SlideShift | None = None) -> BagKey:
    """The key of the bags of a model, of slides as they are or under a change of acquisition."""
    content = {
        "weights_sha256": sha256_of_weights(backbone),
        "class": qualified_name(backbone),
        "version": version_of(backbone),
        "arguments": backbone.arguments,
        "preprocess": {**preprocessing(protocol, backbone.card), "bags": {**sampling_of(section), "version": VERSION}},
        **({} if shift is None else {"shift": shift.key}),
    }
    return BagKey(backbone.name, content)


def sampling_of(section: SlideLevel) -> dict[str, Any]:
    """The part of a section that decides the patches of a slide and what is kept of them."""
    names = ("reading", "mpp", "size", "patches", "tissue", "precision")
    sampling: dict[str, Any] = {name: getattr(section, name) for name in names}
    return {**sampling, "tissue_mask": tissue_detection.VERSION} if section.reading == "exact" else sampling


def store_key(key: BagKey, dataset: SlideDataset) -> StoreKey:
    """The key of the list of the bags of a dataset."""
    return StoreKey(key.model, f"{dataset.card.name}-bags", {**key.content, "dataset_sha256": dataset.fingerprint()})
