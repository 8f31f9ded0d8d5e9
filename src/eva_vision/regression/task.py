"""Values of images by their embeddings, as a task."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.metric import Metric
from eva_core.task import Heads, ImageTask
from eva_vision.regression.metric_names import METRICS
from eva_vision.regression.protocol import PatchRegressionProtocol

if TYPE_CHECKING:
    import pyarrow as pa

    from eva_core.contracts.dataset import Dataset
    from eva_core.contracts.results import Results
    from eva_core.contracts.sections import Section
    from eva_core.job import Answer, Job
    from eva_core.reports.sources import Sources
    from eva_core.store.store import Store
    from eva_vision.regression.predictions import Values


class PatchRegression(ImageTask):
    """One value for each image, or several: the expression of genes."""

    label = "value"
    section = PatchRegressionProtocol
    reads = frozenset({"transform", "geometry", "pooling", "precision", "runs", "seed"})

    @property
    @override
    def head(self) -> Any:
        from eva_vision.regression.contracts import RegressionHead

        return RegressionHead

    @override
    def metrics(self, dataset: DatasetCard) -> Mapping[str, Metric]:
        return METRICS

    @override
    def check(self, job: "Job") -> None:
        from eva_core.errors import UsageError
        from eva_core.evaluation.splits import CROSS_VALIDATED, refuse_unfit
        from eva_vision.regression.contracts import FoldedDataset

        dataset = job.dataset
        refuse_unfit(dataset, [s.id for s in dataset.samples if s.target is None], self.label)
        if {s.split for s in dataset.samples} == {CROSS_VALIDATED} and not isinstance(dataset, FoldedDataset):
            raise UsageError(
                f"Expected folds of {dataset.card.name!r}, whose images are cross-validated, but it gives none. "
                "Derive it from eva_vision.regression.contracts.FoldedDataset."
            )

    @override
    def check_targets(self, dataset: "Dataset") -> None:
        from eva_vision.regression.values import refuse_wrong_values

        refuse_wrong_values(dataset)

    @override
    def evaluate(self, job: "Job", store: "Store", folder: Path, key: str) -> "Answer":
        from eva_vision.regression.evaluation import evaluate

        return evaluate(job, store, METRICS[job.dataset.card.metric])

    @override
    def apply(self, job: "Job", store: "Store", heads: Heads, classes: list[str], output: Path) -> Path:
        from eva_core.results.record import PREDICTIONS, write_predictions
        from eva_vision.regression.evaluation import said_by
        from eva_vision.regression.predictions import values_table

        parts = said_by(job, store, heads, classes or ["value"])
        write_predictions(output, values_table(parts, list(heads)))
        return output / PREDICTIONS

    @override
    def repeat(self, job: "Job", store: "Store", heads: Heads) -> "pa.Table":
        from eva_vision.regression.evaluation import repeated
        from eva_vision.regression.predictions import values_table

        parts = repeated(job, store, heads)
        return values_table(parts, range(len(parts[0].predicted)))

    @override
    def read(self, folder: Path, split: str) -> "Values":
        from eva_vision.regression.predictions import read_values

        return read_values(folder, split)

    @override
    def notes(self, results: "Results") -> list[str]:
        folds = {run["fold"] for run in results["selected"] if "fold" in run}
        if not folds:
            return []
        return [f"mean over {len(folds)} folds, each with heads of its own, of the mean over values"]

    @override
    def by_class(self, results: "Results") -> str:
        return "pearson"

    @override
    def sections(self, sources: "Sources") -> "list[Section]":
        from eva_vision.regression.sections import sections

        return sections(sources)
