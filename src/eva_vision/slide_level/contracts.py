"""Contracts of tasks on slides: datasets, outcomes, heads."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from eva_core.contracts.dataset import Dataset, Sample
from eva_core.contracts.head import FittedRun
from eva_core.contracts.protocol import Protocol
from eva_core.files.file_hashes import file_hashes, sampled
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slides.changed_slides import head_hash, state_of
from eva_vision.slides.index import Index
from eva_vision.slides.reading.blobs import IN_FLIGHT, is_url
from eva_vision.slides.reading.shifted import SlideShift

_THUMBNAIL = 512


@dataclass(frozen=True, slots=True)
class SlideFile:
    """One whole slide image.

    Attributes:
        name: Its name in the manifest.
        path: Absolute path, or URL.
        mpp: Micrometres per pixel of level 0, where the file states none; None: the file must.
    """

    name: str
    path: str
    mpp: float | None = None


class SlideDataset(Dataset):
    """A dataset with one label for each sample, a patient or a slide, and one or several slides of each.

    Subclasses set `card` with the name of a kind of task on slides, and `samples`; a sample's `group` is its patient.
    Where no split is given, all samples have the split `cv`, and are cross-validated.

    Attributes:
        index: An index that has the slides, so that none is opened to find its tissue; None: each is looked at.
        fold_by_site: Whether cross-validation holds whole sites out, one in each fold.
        shift: A change of acquisition, made as slides are read; None: they are read as they are.
    """

    index: Index | None = None
    fold_by_site = False
    shift: SlideShift | None = None
    _remote: Mapping[str, str] = {}
    """Identity of each slide in a bucket, by its address."""

    @abstractmethod
    def slides(self, sample: Sample) -> Sequence[SlideFile]:
        """The slides of a sample, at least one."""

    def metadata(self, sample: Sample) -> Mapping[str, str]:
        """What is known of a sample without a look at it, by name, such as cohort and site; empty where nothing is."""
        return {} if sample.site is None else {"site": sample.site}

    @override
    def image(self, sample: Sample) -> np.ndarray:
        """A thumbnail of the first slide, uint8 RGB (H, W, 3), for people to look at."""
        from eva_vision.slides.reading.open import open_as_stated

        slide = self.slides(sample)[0]
        with open_as_stated(slide.path, slide.mpp) as opened:
            return opened.thumbnail(_THUMBNAIL)

    @override
    def files(self, sample: Sample) -> Sequence[Path]:
        """The slides of a sample that lie on disk."""
        return [Path(file.path) for file in self.slides(sample) if not is_url(file.path)]

    @override
    def hashes(self) -> Mapping[Path, str]:
        """SHA-256 of 64 blocks of each slide on disk: all of them are too much to read."""
        return file_hashes((path for s in self.samples for path in self.files(s)), self.card.name, sampled)

    def identities(self) -> dict[SlideFile, str]:
        """What tells each slide from all others, whatever it is called: size, header and blocks of a file.

        Those in a bucket are asked for once, many at a time: thousands of answers take their time.

        Raises:
            EvaError: One is gone, or cannot be reached.
        """
        hashes = self.hashes()
        files = dict.fromkeys(file for sample in self.samples for file in self.slides(sample))
        asked = {path for file in files if is_url(path := file.path) and path not in self._remote}
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            self._remote = {**self._remote, **dict(zip(asked, pool.map(_remote, asked), strict=True))}
        return {file: self._remote[file.path] if is_url(file.path) else hashes[Path(file.path)] for file in files}

    @override
    def fingerprint(self) -> str:
        """SHA-256 over what is scored and how, all that is known of each sample, and the identity of its slides."""
        identities, card = self.identities(), self.card
        how = (card.task, card.metric, card.ordinal, card.mpp, self.fold_by_site)
        digest = hashlib.sha256("\0".join((*card.classes, *map(str, how))).encode())
        for s in self.samples:
            slides = [f"{file.name} {identities[file]} {file.mpp}" for file in self.slides(s)]
            known = (s.id, s.split, s.target, s.group, s.site, sorted(self.metadata(s).items()), *slides)
            digest.update(("\0".join(map(str, known)) + "\n").encode())
        return digest.hexdigest()


def _remote(path: str) -> str:
    return head_hash(path, state_of(path).bytes)


class Outcome(ABC):
    """What a head learns to tell: the loss that it is trained by, and what is best on the samples that select.

    Attributes:
        outputs: Numbers that a head gives for each sample, K.
    """

    outputs: int

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch: outputs (B, K) and targets (B, ...) -> scalar."""

    @abstractmethod
    def value(self, outputs: Tensor, targets: Tensor) -> float:
        """What is greatest where a head is best: outputs (N, K) and targets (N, ...)."""

    def units(self, targets: Tensor) -> tuple[float, float]:
        """Zero and the unit in which heads trained by gradients see targets: (targets - zero) / unit; 0 and 1 for none.

        Args:
            targets: Those to learn from, (N, ...).
        """
        del targets
        return 0.0, 1.0


class Bags(ABC):
    """The bags of N samples, with their targets.

    Attributes:
        targets: Class numbers int64 (N,), values float64 (N,), or times and events float64 (N, 2).
        counts: Number of patches of each, (N,).
        means: The mean embedding of each, float32 (N, D).
    """

    targets: Tensor
    counts: np.ndarray
    means: Tensor

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def groups(self) -> np.ndarray:
        """Patient of each, empty where unknown, (N,)."""
        return np.full(len(self), "", object)

    @abstractmethod
    def read(self, number: int) -> Tensor:
        """The embeddings of one sample as they are kept, float32 or float16 (count, D)."""


@dataclass(frozen=True)
class BagData:
    """What a head is fitted to.

    Attributes:
        train: What the head learns from.
        select: What chooses the epoch or the regularisation.
        outcome: Loss and main metric.
        runs: Run numbers; run k depends on `protocol.seed + k` alone.
        section: The section of the protocol, as it holds for the dataset.
        memory_gb: Embeddings that may be held in memory.
        progress: Called now and then with (work done, all work).
    """

    train: Bags
    select: Bags
    outcome: Outcome
    runs: Sequence[int]
    section: SlideLevel
    memory_gb: float = 4.0
    progress: Callable[[int, int], None] = lambda *_: None


class BagHead(ABC):
    """Learns from bags. Deterministic given the protocol and the run.

    Attributes:
        tasks: Names of the kinds of task that it fits.
        linear: Whether what it says of a sample is the mean of what it says of each patch alone.
    """

    tasks: ClassVar[frozenset[str]] = frozenset()
    linear: ClassVar[bool] = False

    def runs(self, protocol: Protocol, section: SlideLevel) -> range:
        """Run numbers; a head in which nothing is random makes one."""
        del protocol
        return range(section.runs)

    @abstractmethod
    def fit(self, data: BagData, protocol: Protocol) -> list[FittedRun]:
        """Fit the runs of `data`, one result each; `selected_value` is that of `data.outcome`."""

    @abstractmethod
    def outputs(self, params: dict[str, Tensor], bags: Bags) -> Tensor:
        """What the head says of each sample, float (N, K)."""

    def outputs_of_all(self, heads: Sequence[dict[str, Tensor]], bags: Bags) -> Tensor:
        """What several sets of parameters say, float (R, N, K); a head may read the bags once for all."""
        return torch.stack([self.outputs(params, bags) for params in heads])

    def measures(self, params: dict[str, Tensor], bags: Bags) -> dict[str, Tensor]:
        """What else is measured of each sample, by name, (N,); see `eva_core.contracts.head.Head.measures`."""
        del params, bags
        return {}

    def attention(self, params: dict[str, Tensor], x: Tensor) -> Tensor | None:
        """The weight of each patch of a bag, (n, D) -> (n,), which add up to 1; None where a head has none."""
        del params, x
        return None
