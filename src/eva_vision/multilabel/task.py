"""Several labels of an image by its embedding, as a task."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.metric import Metric
from eva_core.errors import some
from eva_core.progress import say
from eva_core.task import Heads, ImageTask, Task
from eva_vision.multilabel.metric_names import METRICS
from eva_vision.multilabel.protocol import MultiLabelProtocol

if TYPE_CHECKING:
    import pyarrow as pa

    from eva_core.contracts.dataset import Dataset
    from eva_core.contracts.results import Results
    from eva_core.contracts.sections import Section
    from eva_core.job import Answer, Job
    from eva_core.reports.sources import Sources
    from eva_core.store.store import Store
    from eva_vision.multilabel.predictions import LabelScores


class MultiLabel(ImageTask):
    """Several labels for each image: there, not there, to what share, or not annotated."""

    section = MultiLabelProtocol
    reads = Task.reads - {"metrics"}  # the main metric is the dataset's

    @property
    @override
    def head(self) -> Any:
        from eva_vision.multilabel.contracts import LabelHead

        return LabelHead

    @override
    def metrics(self, dataset: DatasetCard) -> Mapping[str, Metric]:
        return METRICS

    @override
    def check(self, job: "Job") -> None:
        from eva_core.evaluation.class_checks import refuse_one_class_by_two_names, untrained_line
        from eva_core.evaluation.splits import refuse_unfit, reported_splits
        from eva_vision.multilabel.evaluation import untrained
        from eva_vision.multilabel.labels import counted, one_sided, refuse_unlearnable

        dataset = job.dataset
        refuse_unfit(dataset, [s.id for s in dataset.samples if s.target is None], self.label)
        refuse_one_class_by_two_names(dataset.card.classes, {})
        counts = counted(dataset)
        reported = reported_splits(counts, dataset.card)
        refuse_unlearnable(counts, reported, dataset.card.name)
        for split, labels in untrained(job, reported).items():
            say(f"{dataset.card.name}: {untrained_line(split, labels)}.")
        for split in reported:
            if names := one_sided(counts, split):
                say(f"{dataset.card.name}: {left_out_line(split, names)}.")

    @override
    def check_targets(self, dataset: "Dataset") -> None:
        from eva_vision.multilabel.labels import refuse_wrong_labels

        refuse_wrong_labels(dataset)

    @override
    def evaluate(self, job: "Job", store: "Store", folder: Path, key: str) -> "Answer":
        from eva_vision.multilabel.evaluation import evaluate

        return evaluate(job, store, METRICS[job.dataset.card.metric])

    @override
    def apply(self, job: "Job", store: "Store", heads: Heads, classes: list[str], output: Path) -> Path:
        from eva_core.results.record import PREDICTIONS, write_predictions
        from eva_vision.multilabel.evaluation import said_by
        from eva_vision.multilabel.predictions import labels_table

        write_predictions(output, labels_table(said_by(job, store, heads, classes), list(heads)))
        return output / PREDICTIONS

    @override
    def repeat(self, job: "Job", store: "Store", heads: Heads) -> "pa.Table":
        from eva_vision.multilabel.evaluation import repeated
        from eva_vision.multilabel.predictions import labels_table

        return labels_table(repeated(job, store, heads), list(heads))

    @override
    def read(self, folder: Path, split: str) -> "LabelScores":
        from eva_vision.multilabel.predictions import read_labels

        return read_labels(folder, split)

    @override
    def notes(self, results: "Results") -> list[str]:
        split = results["main"]["split"]
        metrics = results["splits"][split]["metrics"]
        labels = [name.partition("/")[2] for name in metrics if name.startswith("auprc/")]
        missing = [label for label in labels if metrics[f"auprc/{label}"]["mean"] is None]
        return [left_out_line(split, missing)] if missing else []

    @override
    def by_class(self, results: "Results") -> str:
        return "auprc"

    @override
    def beside(self, results: "Results") -> list[str]:
        return [name for name in METRICS if name != results["main"]["metric"]]

    @override
    def sections(self, sources: "Sources") -> "list[Section]":
        from eva_vision.multilabel.sections import sections

        return sections(sources)


def left_out_line(split: str, labels: list[str]) -> str:
    """Say which labels have no AUROC and no AUPRC."""
    return f"no image of {split} has {some(map(repr, labels))}, or all have: left out of the means of AUROC and AUPRC"
