"""What a kind of task promises: each is an entry point of the group `eva.tasks`, which names a class without torch.

`eva_core` asks a task for all that is particular to its kind: which heads fit, what is extracted, how it is scored and
compared. Its heavy methods import what they need when they are called.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from eva_core import registry
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.metric import Metric
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from eva_core.contracts.dataset import Dataset
    from eva_core.contracts.results import Picture, Results, SplitRecord
    from eva_core.contracts.sections import Section
    from eva_core.job import Answer, Job
    from eva_core.reports.sources import Sources
    from eva_core.statistics.comparison import Difference
    from eva_core.statistics.intervals import Intervals
    from eva_core.store.store import Store, StoreKey

Heads = Mapping[int, Mapping[str, "Tensor"]]
"""Parameters of a head by run, then by name."""


class Scores(ABC):
    """What predictions.parquet holds of one split of a result, as two results are compared by it.

    Attributes:
        ids: Id of each sample, (N,).
        groups: Patient or slide of each sample, empty where unknown, (N,).
        labels: Names of the classes or of the targets.
    """

    ids: Sequence[str]
    groups: Sequence[str]
    labels: Sequence[str]

    @property
    def known_groups(self) -> list[str | None]:
        """Patient or slide of each sample, (N,); None where it is not known."""
        return [group or None for group in self.groups]

    @abstractmethod
    def same_truth(self, other: Any) -> bool | None:
        """Whether both were scored against the same truth; None where predictions do not tell: the data must be one."""

    @abstractmethod
    def compare(self, other: Any, metric: str) -> "Difference":
        """Compare with another model on the same samples, by group."""

    @abstractmethod
    def test(self, other: Any, metric: str) -> tuple[float, float]:
        """Difference and p of the permutation test by group alone, which is what a board needs of each pair."""

    def record(self, names: Sequence[str], last: Any = None) -> "tuple[SplitRecord, Intervals]":
        """What results.json says of the split, from nothing but these predictions, so that `eva verify` makes it again.

        Args:
            names: Names of the metrics that a result has, without those of single classes: where a kind has a choice.
            last: Predictions of the same samples by the heads after their last step; these unless given.
        Raises:
            UsageError: This kind of task keeps too little.
        """
        del names, last  # for kinds that can
        raise UsageError(f"Expected predictions that give their record, but {type(self).__name__} has no such method.")

    def contradictions(self) -> list[str]:
        """What cannot be in these predictions, a line each: probabilities that do not add up, say."""
        return []


class Task(ABC):
    """What is particular to a kind of task; `eva_core` does the rest.

    Attributes:
        label: What a sample is labelled with, in a word.
        unit: What is counted in sentences: `images`, `pixels`, `slides`.
        items: What is embedded, in a word, and what each of them is from, for the cost.
        section: Dataclass of the task's own section of a protocol, whose field has the name of the task; it has `heads`
            and `of(dataset, published)`. None where the task reads the shared fields alone.
        reads: Fields of a protocol that decide a score of this task, besides its section.
        reads_once: Whether `extract_all` reads each file once for all models.
        scores_random_weights: Whether `evaluate` heeds `Extraction.random_weights`, a null.
    """

    label = "label"
    unit = "images"
    items = ("embeddings", "images")
    section: type | None = None
    reads_once = False
    reads: frozenset[str] = frozenset(f.name for f in fields(Protocol)) - {"name", "heads"}
    scores_random_weights: bool = False

    @property
    @abstractmethod
    def head(self) -> Any:
        """The class of heads that fit it."""

    @abstractmethod
    def metrics(self, dataset: DatasetCard) -> Mapping[str, Metric]:
        """The metrics by which results can be ranked and compared, by name."""

    @abstractmethod
    def check(self, job: "Job") -> None:
        """Refuse what cannot be fitted, before anything is extracted.

        Raises:
            UsageError: Labels or splits are missing, or the protocol does not allow what was asked for.
        """

    def check_targets(self, dataset: "Dataset") -> None:
        """Refuse targets that are none of this task, whatever is done with the dataset.

        Raises:
            UsageError: Names the first.
        """
        return

    def check_applying(self, job: "Job") -> None:
        """Refuse what finished heads cannot be applied to, before anything is extracted.

        Raises:
            UsageError: The protocol makes no answer for whole images.
        """
        return

    @abstractmethod
    def key(self, job: "Job") -> "StoreKey":
        """The identity of what is extracted."""

    @abstractmethod
    def extract(self, key: "StoreKey", job: "Job", tell: Callable[[str], None]) -> Any:
        """Run the backbone over the dataset, or find it in the cache: a store with `path` and `attributes`."""

    def extract_all(self, jobs: "Sequence[Job]", tell: Callable[[str], None]) -> list[Any]:
        """What `extract` gives for jobs of several models on one dataset; each file is read once where that can be."""
        return [self.extract(self.key(job), job, tell) for job in jobs]

    @abstractmethod
    def evaluate(self, job: "Job", store: Any, folder: Path, key: str) -> "Answer":
        """Train and score the head.

        Args:
            job: What is asked.
            store: What `extract` gave.
            folder: Folder of the result: for files of the task's own.
            key: Key of the result: what is kept there for a restart is of this key alone.
        """

    def tidy(self, folder: Path) -> None:
        """Remove what was kept for a restart: the result is written."""
        return

    @abstractmethod
    def apply(self, job: "Job", store: Any, heads: Heads, classes: list[str], output: Path) -> Path:
        """Apply finished heads to images; returns what was written below `output`, an existing folder."""

    def repeat(self, job: "Job", store: Any, heads: Heads) -> "pa.Table":
        """The rows of predictions.parquet made again, from what was extracted and the finished heads.

        Args:
            job: The job of the result; its model may be a stand-in.
            store: What `extract` gave.
            heads: Parameters of the finished heads.
        Raises:
            UsageError: This kind of task cannot.
        """
        raise UsageError(f"Expected a kind of task that repeats predictions, but {type(self).__name__} does not.")

    @abstractmethod
    def read(self, folder: Path, split: str) -> Scores:
        """The predictions of one split of a finished result.

        Raises:
            UsageError: The file is missing or damaged, or does not have the split.
        """

    def made_again(self, folder: Path, results: "Results", parts: Mapping[str, Any]) -> dict[str, Any]:
        """Further fields of results.json that predictions decide, for `eva verify` to compare.

        Args:
            folder: Has the result, with its tables.
            results: What it states, of which older results may have less.
            parts: Predictions by split, as `read` gives them.
        """
        return {}

    def comparable(self, metric: str) -> bool:
        """Whether predictions.parquet holds what two results are compared by on a metric."""
        return True

    def always_said(self, section: Any) -> dict[str, Any]:
        """Fields of the section that a title names whatever the protocol is called, as they change what a score is."""
        return {}

    def takes(self, head: Any) -> bool:
        """Whether a head is of the kind that this task trains."""
        return isinstance(head, self.head)

    def at_mpp(self, mpp: float, native: float, dataset: "Dataset", protocol: Protocol, card: Any) -> Protocol | None:
        """A protocol under which images of `native` micrometres per pixel reach the model at `mpp`.

        Args:
            mpp: Micrometres per pixel that shall reach the model.
            native: Micrometres per pixel of the images.
            dataset: The images.
            protocol: The one to change.
            card: Card of the model.
        Returns:
            None where that cannot be: detail is not made, and a model may take some sizes alone.
        """
        from eva_core.extraction.geometry import resized

        return resized(mpp, native, dataset, protocol, card)

    def notes(self, results: "Results") -> list[str]:
        """What a reader must know beside the number, and only this kind of task knows."""
        return []

    def by_class(self, results: "Results") -> str:
        """The metric of which the terminal shows a table by class; empty for none."""
        return ""

    def beside(self, results: "Results") -> list[str]:
        """Metrics that boards show beside the main one."""
        return []

    def remark(self, results: "Results") -> str:
        """Why this score does not compare with others of its name; empty where it does."""
        return ""

    def pictures(self, results: "Results") -> "list[Picture]":
        """Images that a board shows of a result."""
        return []

    def files(self, results: "Results") -> list[str]:
        """Files of the task's own that belong to a result, below its folder: its pictures, unless there are others."""
        return [picture["file"] for picture in self.pictures(results)]

    def find_store(self, dataset: str, weights: str, preprocess: str, sha256: str) -> Any:
        """The store in the cache that a result was made from, for its report; None where there is none.

        Args:
            dataset: Name of the dataset.
            weights: Digest of the weights.
            preprocess: Digest of what happens to the pixels.
            sha256: Fingerprint of the dataset.
        """
        from eva_core.store.finding import find_store

        return find_store(dataset, weights, preprocess, sha256)

    def sections(self, sources: "Sources") -> "list[Section]":
        """The parts of report.html that only this kind of task knows; what all share stands around them."""
        return []


class ImageTask(Task):
    """A kind of task whose samples are images with one embedding each: what they are kept under, and how they come."""

    @override
    def key(self, job: "Job") -> "StoreKey":
        from eva_core.extraction.embed import store_key

        return store_key(job.backbone, job.dataset, job.protocol)

    @override
    def extract(self, key: "StoreKey", job: "Job", tell: Callable[[str], None]) -> "Store":
        from eva_core.extraction.embed import extract

        return extract(key, job.backbone, job.dataset, job.protocol, job.how, tell, job.model)


def task_named(name: str) -> Task:
    """The task of a name.

    Raises:
        UsageError: No installed package has it.
    """
    task: Task = registry.tasks.build(name)
    return task
