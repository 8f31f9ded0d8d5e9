"""Survival of patients, as a task."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.metric import Metric
from eva_vision.slide_level.survival.metric_names import METRICS
from eva_vision.slide_level.task import SlideTask

if TYPE_CHECKING:
    from eva_core.contracts.dataset import Dataset
    from eva_core.contracts.results import Results
    from eva_core.contracts.sections import Section
    from eva_core.reports.sources import Sources
    from eva_vision.slide_level.survival.predictions import Risks
    from eva_vision.slide_level.survival.scoring import RiskScoring


class SlideSurvival(SlideTask):
    """Time to an event for each patient, with those to whom it has not happened yet."""

    name = "slide_survival"
    label = "time and event"

    @override
    def scoring(self) -> "RiskScoring":
        from eva_vision.slide_level.survival.scoring import RiskScoring

        return RiskScoring()

    @override
    def metrics(self, dataset: DatasetCard) -> Mapping[str, Metric]:
        return METRICS

    @override
    def check_targets(self, dataset: "Dataset") -> None:
        from eva_vision.slide_level.survival.targets import outcomes_of

        known = [s for s in dataset.samples if s.target is not None]
        if known:
            times, events = zip(*(s.target for s in known), strict=True)
            outcomes_of(times, events, [s.id for s in known], [s.split for s in known])

    @override
    def read(self, folder: Path, split: str) -> "Risks":
        from eva_vision.slide_level.survival.predictions import read_risks

        return read_risks(folder, split)

    @override
    def beside(self, results: "Results") -> list[str]:
        return [name for name in METRICS if name != results["main"]["metric"]]

    @override
    def sections(self, sources: "Sources") -> "list[Section]":
        from eva_vision.slide_level.pictures.sections import picture_sections
        from eva_vision.slide_level.survival.sections import sections

        return [*sections(sources), *picture_sections(sources)]
