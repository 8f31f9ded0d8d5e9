"""What the kinds of task on slides share. Free of torch, as tasks are until they work."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import override

from eva_core.contracts.cards import ModelCard
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.task import Heads, Task
from eva_vision.slide_level.protocol import SlideLevel

if TYPE_CHECKING:
    import pyarrow as pa

    from eva_core.contracts.dataset import Dataset
    from eva_core.contracts.results import Picture, Results
    from eva_core.job import Answer, Job
    from eva_core.store.store import StoreKey
    from eva_vision.slide_level.bags.bag_key import BagKey
    from eva_vision.slide_level.bags.bag_store import BagStore
    from eva_vision.slide_level.bags.fill import Model, Reading
    from eva_vision.slide_level.contracts import SlideDataset
    from eva_vision.slide_level.schema import SlideResults
    from eva_vision.slide_level.scoring import Scoring


class SlideTask(Task):
    """A label for each patient or slide, learnt from the bags of its slides."""

    unit = "slides"
    items = ("bags", "patches")
    reads_once = True
    section = SlideLevel
    reads = frozenset(
        {"transform", "geometry", "pooling", "precision", "selection", "holdout", "seed", "betas", "C"}
        | {"warmup_factor", "warmup_epochs"}
    )
    scores_random_weights = True

    @property
    @override
    def head(self) -> Any:
        from eva_vision.slide_level.contracts import BagHead

        return BagHead

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the task in the registry."""

    @abstractmethod
    def scoring(self) -> "Scoring":
        """What is particular to the outcome."""

    @override
    def takes(self, head: Any) -> bool:
        return isinstance(head, self.head) and self.name in head.tasks

    @override
    def check(self, job: "Job") -> None:
        from eva_core.evaluation.splits import refuse_unfit

        dataset = _checked(job.dataset)
        refuse_unfit(dataset, [s.id for s in dataset.samples if s.target is None], self.label)
        job.head.runs(job.protocol, job.resolved.section)  # refuses a protocol that lacks what the head needs

    @override
    def key(self, job: "Job") -> "StoreKey":
        from eva_vision.slide_level.bags.bag_key import store_key

        return store_key(_bag_key(job), _checked(job.dataset))

    @override
    def extract(self, key: "StoreKey", job: "Job", tell: Callable[[str], None]) -> "BagStore":
        from eva_vision.slide_level.bags.bag_store import open_bags

        dataset, section = _checked(job.dataset), job.resolved.section
        store = open_bags(key, _model(job), dataset, _reading(job), job.how, tell)
        if store.without_tissue:
            from eva_core.errors import some

            names = some(store.without_tissue)
            tell(f"{len(store.without_tissue)} samples have no patch with {section.tissue:.0%} tissue: {names}.")
        return store

    @override
    def extract_all(self, jobs: "Sequence[Job]", tell: Callable[[str], None]) -> "list[BagStore]":
        """The bags of several models; each patch is decoded once for all models whose patches are laid out alike."""
        from eva_core.identity import canonical
        from eva_vision.slide_level.bags.bag_key import sampling_of
        from eva_vision.slide_level.bags.extract import extract_bags

        alike: dict[str, list[Job]] = {}
        for job in jobs:
            alike.setdefault(canonical(sampling_of(job.resolved.section)), []).append(job)
        for together in alike.values():
            extract_bags([_model(job) for job in together], _reading(together[0]), together[0].how, tell)
        return super().extract_all(jobs, tell)

    @override
    def evaluate(self, job: "Job", store: "BagStore", folder: Path, key: str) -> "Answer":
        from eva_core.evaluation.random_weights import with_random_weights
        from eva_core.progress import say
        from eva_vision.slide_level.evaluation import evaluate

        untrained = None
        if job.how.random_weights:
            bare = replace(job, backbone=with_random_weights(job.backbone, job.protocol.seed))
            untrained = self.extract(self.key(bare), bare, say)
        metric = self.metrics(job.dataset.card)[job.dataset.card.metric]
        return evaluate(job, store, self.scoring(), metric, folder, untrained)

    @override
    def apply(self, job: "Job", store: "BagStore", heads: Heads, classes: list[str], output: Path) -> Path:
        from eva_core.results.record import PREDICTIONS, write_predictions
        from eva_vision.slide_level.evaluation import said_by

        scoring, card = self.scoring(), replace(job.dataset.card, classes=tuple(classes))
        targets = scoring.targets(store.targets, _checked(job.dataset), card)
        parts = [scoring.predictions(said, card) for said in said_by(job, store, heads, targets)]
        write_predictions(output, scoring.table(parts, card, list(heads)))
        return output / PREDICTIONS

    @override
    def repeat(self, job: "Job", store: "BagStore", heads: Heads) -> "pa.Table":
        from eva_vision.slide_level.evaluation import repeated

        scoring, card = self.scoring(), job.dataset.card
        said = list(repeated(job, store, scoring, heads))
        return scoring.table([scoring.predictions(part, card) for part in said], card, range(len(said[0].outputs)))

    @override
    def pictures(self, results: "Results") -> "list[Picture]":
        return list(cast("SlideResults", results).get("pictures", []))

    @override
    def files(self, results: "Results") -> list[str]:
        return [*super().files(results), *cast("SlideResults", results).get("shapes", [])]

    @override
    def find_store(self, dataset: str, weights: str, preprocess: str, sha256: str) -> "BagStore | None":
        from eva_core.store.finding import find_store_of
        from eva_vision.slide_level.bags.bag_store import BagStore

        return find_store_of(BagStore, f"{dataset}-bags", weights, preprocess, sha256)

    @override
    def at_mpp(
        self, mpp: float, native: float, dataset: "Dataset", protocol: Protocol, card: ModelCard
    ) -> Protocol | None:
        """Not by resizing images: the section says at which mpp slides are read.

        Raises:
            UsageError: Always; says what to set instead.
        """
        raise UsageError(f"Expected --protocol.{self.name}.mpp {mpp:g} for slides, but got another way to ask for it.")


def _bag_key(job: "Job") -> "BagKey":
    from eva_vision.slide_level.bags.bag_key import bag_key

    return bag_key(job.backbone, job.protocol, job.resolved.section, _checked(job.dataset).shift)


def _model(job: "Job") -> "Model":
    from eva_vision.slide_level.bags.fill import Model

    return Model(_bag_key(job), job.backbone, job.protocol, job.model)


def _reading(job: "Job") -> "Reading":
    from eva_vision.slide_level.bags.fill import Reading

    dataset = _checked(job.dataset)
    return Reading(dataset.identities(), job.resolved.section, dataset.index, dataset.shift)


def _checked(dataset: "Dataset") -> "SlideDataset":
    from eva_vision.slide_level.contracts import SlideDataset

    if not isinstance(dataset, SlideDataset):
        raise UsageError(
            f"Expected a SlideDataset for task {dataset.card.task}, but {dataset.card.name!r} is another. "
            "Derive it from eva_vision.slide_level.contracts.SlideDataset."
        )
    return dataset
