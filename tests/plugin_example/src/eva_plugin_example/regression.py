"""A whole kind of task from outside: a number for each image. Free of torch, as tasks are until they work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.metric import Metric
from eva_core.task import Heads, Task

if TYPE_CHECKING:
    from eva_core.job import Answer, Job

METRICS = {"r2": Metric(bounds=(-inf, 1.0), chance=0.0), "mae": Metric(higher_is_better=False, bounds=(0.0, inf))}


@dataclass(frozen=True)
class RegressionSection:
    """What a protocol says of regression.

    Attributes:
        heads: The heads that the protocol defines; the first is the default.
        strengths: Of the regularisation, that a head tries.
    """

    heads: tuple[str, ...] = ("image_ridge",)
    strengths: tuple[float, ...] = (0.001, 0.1, 10.0)

    def of(self, dataset: str, published: "RegressionSection | None" = None) -> "RegressionSection":
        """The same for every dataset."""
        return self


class Regression(Task):
    """A number for each image."""

    label = "value"
    section = RegressionSection
    reads = frozenset({"transform", "geometry", "pooling", "precision", "selection", "holdout", "seed"})

    @property
    def head(self) -> Any:
        from eva_plugin_example.ridge import Ridge

        return Ridge

    def metrics(self, dataset: DatasetCard) -> Mapping[str, Metric]:
        return METRICS

    def check(self, job: "Job") -> None:
        from eva_core.evaluation.splits import refuse_unfit

        refuse_unfit(job.dataset, [s.id for s in job.dataset.samples if s.target is None], self.label)

    def key(self, job: "Job") -> Any:
        from eva_core.extraction.embed import store_key

        return store_key(job.backbone, job.dataset, job.protocol)

    def extract(self, key: Any, job: "Job", tell: Callable[[str], None]) -> Any:
        from eva_core.extraction.embed import extract

        return extract(key, job.backbone, job.dataset, job.protocol, job.how, tell, job.model)

    def evaluate(self, job: "Job", store: Any, folder: Path, key: str) -> "Answer":
        from eva_plugin_example.ridge import evaluate

        return evaluate(job, store, METRICS)

    def apply(self, job: "Job", store: Any, heads: Heads, classes: list[str], output: Path) -> Path:
        from eva_core.results.record import PREDICTIONS, write_predictions
        from eva_plugin_example.ridge import Values, values_table

        rows = store.rows("new") if "new" in store.splits else store.readable.nonzero()[0]
        x = store.embedded(rows).x
        found = [job.head.predicted(dict(params), x) for params in heads.values()]
        part = Values("new", store.ids[rows], store.groups[rows], store.targets[rows], found)
        write_predictions(output, values_table([part], list(heads)))
        return output / PREDICTIONS

    def read(self, folder: Path, split: str) -> Any:
        from eva_plugin_example.ridge import read_values

        return read_values(folder, split)

    def notes(self, results: Mapping[str, Any]) -> list[str]:
        mae = results["splits"][results["main"]["split"]]["metrics"]["mae"]["mean"]
        return [f"mean absolute error {mae:.3f}"]

    def sections(self, sources: Any) -> list[Any]:
        """In report.html: what is said beside what is true."""
        found = self.read(sources.folder, sources.results["main"]["split"])
        mean = sum(found.predicted) / len(found.predicted)
        points = [(round(float(a), 3), round(float(b), 3)) for a, b in zip(found.targets, mean, strict=True)]
        note = "On the line both agree; mean over runs."
        axes = {"x": "true value", "y": "predicted"}
        return [{"kind": "scatter", "title": "Values", "note": note, **axes, "points": points, "ids": list(found.ids)}]


def with_strengths(protocol: Any, *strengths: float) -> Any:
    """A protocol that tries these strengths."""
    return replace(protocol, regression=RegressionSection(strengths=strengths))
