"""The contracts under one name, as plugins of the first edition import them; they are in `eva_core.contracts`."""

from eva_core.contracts.backbone import Backbone, sha256_of_weights
from eva_core.contracts.cards import Builder, DatasetCard, Geometry, ModelCard, Pooling, card
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.contracts.head import Embedded, FittedRun, FittingData, Head

__all__ = [
    "Backbone",
    "Builder",
    "Dataset",
    "DatasetCard",
    "Embedded",
    "FittedRun",
    "FittingData",
    "Geometry",
    "Head",
    "ModelCard",
    "Pooling",
    "Sample",
    "card",
    "sha256_of_weights",
]
