"""The core of eva: contracts, registries, extraction, fitting and results. It knows no vision."""

from typing import TYPE_CHECKING

from eva_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from eva_core.api import fit, predict
    from eva_core.commands.compare import compare
    from eva_core.contracts.backbone import Backbone
    from eva_core.contracts.cards import DatasetCard, Geometry, ModelCard, card
    from eva_core.contracts.dataset import Dataset, Sample
    from eva_core.contracts.head import Embedded, FittedRun, FittingData, Head
    from eva_core.contracts.metric import Metric
    from eva_core.contracts.protocol import Protocol, ResolvedProtocol
    from eva_core.errors import EvaError, UsageError
    from eva_core.extraction.settings import Extraction
    from eva_core.job import Answer, Job
    from eva_core.reports.result import Result
    from eva_core.task import Scores, Task

__all__ = [
    "Answer",
    "Backbone",
    "Dataset",
    "DatasetCard",
    "Embedded",
    "EvaError",
    "Extraction",
    "FittedRun",
    "FittingData",
    "Geometry",
    "Head",
    "Job",
    "Metric",
    "ModelCard",
    "Protocol",
    "ResolvedProtocol",
    "Result",
    "Sample",
    "Scores",
    "Task",
    "UsageError",
    "card",
    "compare",
    "fit",
    "predict",
]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Answer": "eva_core.job",
        "Backbone": "eva_core.contracts.backbone",
        "Dataset": "eva_core.contracts.dataset",
        "DatasetCard": "eva_core.contracts.cards",
        "Embedded": "eva_core.contracts.head",
        "EvaError": "eva_core.errors",
        "Extraction": "eva_core.extraction.settings",
        "FittedRun": "eva_core.contracts.head",
        "FittingData": "eva_core.contracts.head",
        "Geometry": "eva_core.contracts.cards",
        "Head": "eva_core.contracts.head",
        "Job": "eva_core.job",
        "Metric": "eva_core.contracts.metric",
        "ModelCard": "eva_core.contracts.cards",
        "Protocol": "eva_core.contracts.protocol",
        "ResolvedProtocol": "eva_core.contracts.protocol",
        "Result": "eva_core.reports.result",
        "Sample": "eva_core.contracts.dataset",
        "Scores": "eva_core.task",
        "Task": "eva_core.task",
        "UsageError": "eva_core.errors",
        "card": "eva_core.contracts.cards",
        "compare": "eva_core.commands.compare",
        "fit": "eva_core.api",
        "predict": "eva_core.api",
    },
)
