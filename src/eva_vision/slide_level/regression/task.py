"""Values of patients or slides, as a task."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.metric import Metric
from eva_core.errors import UsageError
from eva_vision.regression.metric_names import METRICS
from eva_vision.slide_level.task import SlideTask

if TYPE_CHECKING:
    from eva_core.contracts.dataset import Dataset
    from eva_core.contracts.results import Results
    from eva_core.contracts.sections import Section
    from eva_core.reports.sources import Sources
    from eva_vision.regression.predictions import Values
    from eva_vision.slide_level.regression.scoring import ValueScoring


class SlideRegression(SlideTask):
    """A number for each patient or slide."""

    name = "slide_regression"
    label = "value"

    @override
    def scoring(self) -> "ValueScoring":
        from eva_vision.slide_level.regression.scoring import ValueScoring

        return ValueScoring()

    @override
    def metrics(self, dataset: DatasetCard) -> Mapping[str, Metric]:
        return METRICS

    @override
    def check_targets(self, dataset: "Dataset") -> None:
        for sample in dataset.samples:
            target = sample.target
            if target is not None and not (isinstance(target, int | float) and math.isfinite(target)):
                raise UsageError(
                    f"Expected targets of dataset {dataset.card.name!r} as numbers, or None where none is known, but "
                    f"{sample.id!r} has {target!r}. Correct it."
                )

    @override
    def read(self, folder: Path, split: str) -> "Values":
        from eva_vision.regression.predictions import read_values

        return read_values(folder, split)

    @override
    def beside(self, results: "Results") -> list[str]:
        return [name for name in METRICS if name != results["main"]["metric"]]

    @override
    def sections(self, sources: "Sources") -> "list[Section]":
        from eva_vision.regression.sections import sections
        from eva_vision.slide_level.pictures.sections import picture_sections

        return [*sections(sources), *picture_sections(sources)]
