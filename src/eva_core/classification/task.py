"""Classification of images by their embeddings, as a task."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from eva_core.classification.metric_names import ON_REQUEST, metrics_for
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.metric import Metric
from eva_core.errors import UsageError, some
from eva_core.progress import say
from eva_core.task import Heads, ImageTask

if TYPE_CHECKING:
    import pyarrow as pa

    from eva_core.classification.predictions import Predictions
    from eva_core.contracts.dataset import Dataset
    from eva_core.contracts.results import Results
    from eva_core.contracts.sections import Section
    from eva_core.job import Answer, Job
    from eva_core.reports.sources import Sources
    from eva_core.store.store import Store


class Classification(ImageTask):
    """One label for each image."""

    @property
    @override
    def head(self) -> Any:
        from eva_core.contracts.head import Head

        return Head

    @override
    def metrics(self, dataset: DatasetCard) -> Mapping[str, Metric]:
        return metrics_for(dataset)

    @override
    def check(self, job: "Job") -> None:
        from eva_core.evaluation.class_checks import (
            class_counts,
            refuse_few_classes,
            refuse_one_class_by_two_names,
            untrained,
            untrained_line,
        )
        from eva_core.evaluation.splits import refuse_unfit, reported_splits

        dataset = job.dataset
        refuse_unfit(dataset, [s.id for s in dataset.samples if s.target is None], self.label)
        refuse_few_classes(dataset.card)
        unknown = [name for name in job.protocol.metrics if name not in self.metrics(dataset.card)]
        if unknown:
            known = ", ".join(self.metrics(dataset.card))
            raise UsageError(f"Expected protocol.metrics among {known} for {dataset.card.name}, but got {unknown[0]}.")
        job.head.runs(job.protocol)  # refuses a protocol that lacks what the head needs
        targets, splits = np.array([s.target for s in dataset.samples]), np.array([s.split for s in dataset.samples])
        counts = class_counts(targets, splits, dataset.card.classes)
        refuse_one_class_by_two_names(dataset.card.classes, counts)
        reported = reported_splits(counts, dataset.card)
        foreign = untrained({split: counts[split] for split in ("train", *reported)}, dataset.card.name)
        for split, classes in foreign.items():
            say(f"{dataset.card.name}: {untrained_line(split, classes)}.")

    @override
    def check_targets(self, dataset: "Dataset") -> None:
        from eva_core.evaluation.class_checks import refuse_wrong_classes

        refuse_wrong_classes(dataset)

    @override
    def evaluate(self, job: "Job", store: "Store", folder: Path, key: str) -> "Answer":
        from eva_core.classification.evaluation import evaluate

        return evaluate(job, store, self.metrics(job.dataset.card)[job.metric], folder)

    @override
    def apply(self, job: "Job", store: "Store", heads: Heads, classes: list[str], output: Path) -> Path:
        from eva_core.classification.evaluation import scores_of
        from eva_core.classification.predictions import Predictions, predictions_table
        from eva_core.contracts.head import Embedded
        from eva_core.results.record import PREDICTIONS, write_predictions

        parts = []
        for split in dict.fromkeys(store.splits.tolist()):
            rows = store.rows(split)
            data: Embedded = store.embedded(rows)
            scores, ranking = scores_of(job.head, [dict(p) for p in heads.values()], data)
            labels = job.dataset.card.classes
            targets = _translated(store.targets[rows], labels, classes)
            foreign = sorted({labels[t] for t in store.targets[rows][targets < 0] if t >= 0})
            if foreign:
                say(f"{split}: the heads know {some(classes)}, so labels {some(map(repr, foreign))} count as unknown.")
            parts.append(Predictions(split, store.ids[rows], store.groups[rows], targets, scores, ranking))
        write_predictions(output, predictions_table(parts, classes, list(heads)))
        return output / PREDICTIONS

    @override
    def repeat(self, job: "Job", store: "Store", heads: Heads) -> "pa.Table":
        from eva_core.classification.evaluation import predicted
        from eva_core.classification.predictions import predictions_table
        from eva_core.evaluation.splits import reported_splits

        params = [dict(p) for p in heads.values()]
        splits = reported_splits(store.splits[store.readable], job.dataset.card)
        parts = [predicted(job, store, split, params) for split in splits]
        return predictions_table(parts, job.dataset.card.classes, list(heads))

    @override
    def read(self, folder: Path, split: str) -> "Predictions":
        from eva_core.classification.predictions import read_predictions

        return read_predictions(folder, split)

    @override
    def made_again(self, folder: Path, results: "Results", parts: Mapping[str, Any]) -> dict[str, Any]:
        from eva_core.classification.predictions import HOLDOUT, HOLDOUT_SPLIT, read_predictions
        from eva_core.classification.temperature import calibrated

        if "calibration" not in results:  # it was made before there was one
            return {}
        if HOLDOUT not in self.files(results):
            return {"calibration": None}
        return {"calibration": calibrated(read_predictions(folder, HOLDOUT_SPLIT, HOLDOUT), parts)}

    @override
    def files(self, results: "Results") -> list[str]:
        from eva_core.classification.predictions import HOLDOUT

        held_out = "calibration" in results and results["main"]["selected_on"] == "holdout"
        return [*super().files(results), *([HOLDOUT] if held_out else [])]

    @override
    def notes(self, results: "Results") -> list[str]:
        from eva_core.classification.measures import measure_notes

        lines = measure_notes(results)
        metrics = results["splits"][results["main"]["split"]]["metrics"]
        recalls = [m["mean"] for name, m in metrics.items() if name.startswith("recall/") and m["mean"] is not None]
        if len(recalls) > 1 and max(recalls) == sum(recalls) == 1:
            other = "" if results["identity"]["protocol"].startswith("strict") else ", or --protocol strict"
            lines.append(f"the head gives one class to every image: it has learned nothing; more steps{other}")
        return lines

    @override
    def beside(self, results: "Results") -> list[str]:
        from eva_core.classification.measures import measure_names

        metrics = results["splits"][results["main"]["split"]]["metrics"]
        return [*(name for name in ON_REQUEST if name in metrics), *measure_names(metrics)]

    @override
    def by_class(self, results: "Results") -> str:
        return "recall"

    @override
    def sections(self, sources: "Sources") -> "list[Section]":
        from eva_core.classification.sections import sections

        return sections(sources)


def _translated(targets: np.ndarray, labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Targets that number `labels` as numbers of `classes`, those of the head; -1 where it does not know the class."""
    table = np.array([*(classes.index(label) if label in classes else -1 for label in labels), -1])
    translated: np.ndarray = table[targets]
    return translated
