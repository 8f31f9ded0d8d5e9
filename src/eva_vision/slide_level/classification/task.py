"""Classes of patients or slides, as a task."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from eva_core.classification.metric_names import KAPPA, metrics_for
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.metric import Metric
from eva_vision.slide_level.task import SlideTask

if TYPE_CHECKING:
    from eva_core.classification.predictions import Predictions
    from eva_core.contracts.dataset import Dataset
    from eva_core.contracts.results import Results
    from eva_core.contracts.sections import Section
    from eva_core.job import Job
    from eva_core.reports.sources import Sources
    from eva_vision.slide_level.classification.scoring import ClassScoring


class SlideClassification(SlideTask):
    """A class for each patient or slide."""

    name = "slide_classification"

    @override
    def scoring(self) -> "ClassScoring":
        from eva_vision.slide_level.classification.scoring import ClassScoring

        return ClassScoring()

    @override
    def metrics(self, dataset: DatasetCard) -> Mapping[str, Metric]:
        return metrics_for(dataset)

    @override
    def check(self, job: "Job") -> None:
        from eva_core.evaluation.class_checks import refuse_few_classes, refuse_one_class_by_two_names

        super().check(job)
        refuse_few_classes(job.dataset.card)
        refuse_one_class_by_two_names(job.dataset.card.classes, {})

    @override
    def check_targets(self, dataset: "Dataset") -> None:
        from eva_core.evaluation.class_checks import refuse_wrong_classes

        refuse_wrong_classes(dataset)

    @override
    def read(self, folder: Path, split: str) -> "Predictions":
        from eva_core.classification.predictions import read_predictions

        return read_predictions(folder, split)

    @override
    def notes(self, results: "Results") -> list[str]:
        from eva_core.classification.measures import measure_notes

        return measure_notes(results)

    @override
    def beside(self, results: "Results") -> list[str]:
        from eva_core.classification.measures import measure_names

        metrics = results["splits"][results["main"]["split"]]["metrics"]
        kappa = [KAPPA] if KAPPA in metrics and results["main"]["metric"] != KAPPA else []
        return [*kappa, *measure_names(metrics)]

    @override
    def by_class(self, results: "Results") -> str:
        return "recall"

    @override
    def sections(self, sources: "Sources") -> "list[Section]":
        from eva_core.classification.sections import sections
        from eva_vision.slide_level.pictures.sections import picture_sections

        return [*sections(sources, "samples"), *picture_sections(sources)]
