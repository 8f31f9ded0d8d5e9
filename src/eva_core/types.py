"""The contracts: what a model, a dataset and a head promise to the rest of the house."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from eva_core.contracts.cards import Builder, DatasetCard, Geometry, ModelCard, Pooling, card
from eva_core.errors import UsageError
from eva_core.files.file_hashes import file_hashes, whole
from eva_core.text import printable

if TYPE_CHECKING:
    from eva_core.contracts.protocol import Protocol
    from eva_core.results.record import Predictions

__all__ = [
    "IGNORE",
    "Backbone",
    "Builder",
    "Dataset",
    "DatasetCard",
    "Embedded",
    "FittedRun",
    "Geometry",
    "Head",
    "ModelCard",
    "Pooling",
    "Sample",
    "SegmentationDataset",
    "SegmentationHead",
    "card",
    "sha256_of_weights",
]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a dataset. Bytes of id, group or site that are not UTF-8 become escapes such as `\\xfc`.

    Attributes:
        id: Unique within the dataset and stable between machines.
        split: `train`, `val` or `test`; `new` for images to predict on.
        target: Index into the card's classes; None where no label is known, or where a mask holds the labels.
        path: Where the pixels are.
        bytes: Size of the image file, part of the dataset's fingerprint.
        group: Patient or slide; must not cross splits.
        mask: Where the label of each pixel is; None where none is known.
    """

    id: str
    split: str
    target: int | None
    path: Path | None = None
    bytes: int = 0
    group: str | None = None
    site: str | None = None
    mpp: float | None = None
    mask: Path | None = None

    def __post_init__(self) -> None:
        for name in ("id", "group", "site"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise UsageError(f"Expected the {name} of a sample as text, but got {value!r}. Use str().")
            if value is not None and not value.isascii():
                object.__setattr__(self, name, printable(value))


class Dataset(ABC):
    """An index of samples and a way to read one image. Subclasses set `card` and `samples`."""

    card: DatasetCard
    samples: Sequence[Sample]

    @abstractmethod
    def image(self, sample: Sample) -> np.ndarray:
        """The pixels of a sample: uint8 RGB, (H, W, 3), any size."""

    def report(self, predictions: Sequence["Predictions"]) -> dict[str, Any]:
        """What else this dataset has to say of a result, such as scores per slide; results.json holds it as `report`.

        Args:
            predictions: Of each reported split.
        """
        return {}

    def files(self, sample: Sample) -> Sequence[Path]:
        """The files that a sample comes from: pixels and labels."""
        return [path for path in (sample.path, sample.mask) if path is not None]

    def hashes(self) -> Mapping[Path, str]:
        """SHA-256 of the content of each file of the samples."""
        return file_hashes((path for s in self.samples for path in self.files(s)), self.card.name, whole)

    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """Say what decides `image(sample)`, whatever dataset it is in: equal text, equal pixels.

        Embeddings of the same pixels are taken from earlier stores. A class that reads images in a way of its own says
        it anew; until it does, embeddings are taken over for the very same dataset alone.

        Args:
            hashes: From `hashes()`.
        Returns:
            A text without the label and the split; None where it is not known.
        """
        return None

    def fingerprint(self) -> str:
        """SHA-256 over the classes, all that is known of each sample, and the content of its files, in order."""
        hashes = self.hashes()
        digest = hashlib.sha256("\0".join((*self.card.classes, str(self.card.mpp))).encode())
        for s in self.samples:
            known = (s.id, s.split, s.target, s.group, s.site, s.mpp, s.bytes, *(hashes[f] for f in self.files(s)))
            digest.update(("\0".join(map(str, known)) + "\n").encode())
        return digest.hexdigest()


IGNORE = 255
"""The label of a pixel that is neither learnt nor scored."""


class SegmentationDataset(Dataset):
    """A dataset with a class for every pixel. Subclasses set `card` with `task="segmentation"`, and `samples`."""

    @abstractmethod
    def size(self, sample: Sample) -> tuple[int, int]:
        """Height and width of the image in pixels, without decoding it."""

    @abstractmethod
    def mask(self, sample: Sample) -> np.ndarray:
        """The class of every pixel: uint8 (H, W), indices into the card's classes or `IGNORE`.

        Raises:
            EvaError: It does not read, holds a label outside the classes, or is of another size than the image.
        """

    def labelled(self, sample: Sample) -> bool:
        """Whether a mask is known."""
        return sample.mask is not None

    def instances(self, sample: Sample) -> np.ndarray | None:
        """The number of the object at every pixel, 0 for none: int32 (H, W); None where objects are not told apart."""
        return None

    def labels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """Say what decides `mask(sample)`, as `pixels` does for the image; None where it is not known."""
        return None


class Backbone(nn.Module, ABC):
    """A frozen model that turns images into embeddings.

    Attributes:
        card: Its card.
        name: The name under which results are reported: as asked for, else the card's.
        pooling: How tokens become one vector; set by the protocol, read by `forward` where the model has a choice.
        arguments: What changes the output but not the weights (architecture arguments); part of the cache key.
        provenance: Where the weights came from, for the record: source, revision, sha256 of the file.
    """

    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        self.card = card
        self.name = card.name
        self.pooling: Pooling = card.pooling
        self.arguments: dict[str, Any] = {}
        self.provenance: dict[str, str] = {}

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images (B, 3, H, W) -> embeddings (B, D)."""

    @abstractmethod
    def feature_map(self, images: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        """Normalised float images (B, 3, H, W) -> dense features (B, D', h, w), prefix tokens left out.

        Args:
            layers: Block indices (ViT) or stage indices (CNN), stacked along D'; None means the last.
        """


@dataclass(frozen=True)
class Embedded:
    """Embeddings of one split with their labels: x float32 (N, D), y int64 (N,)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class FittedRun:
    """One run of a head.

    Attributes:
        run: Its number, counted from 0.
        params: The selected parameters, by name, CPU float32.
        last: The parameters after the last step; the same as `params` where nothing was selected over time.
        selected_value: Main metric on the samples that selected.
        selected: What was chosen, for the report: {"step": 400} or {"C": 0.01}.
    """

    run: int
    params: dict[str, Tensor]
    last: dict[str, Tensor]
    selected_value: float
    selected: dict[str, float]


class Head(ABC):
    """Learns to score classes from embeddings. Deterministic given the recipe and the run."""

    def runs(self, recipe: "Protocol") -> range:
        """Run numbers under a protocol; a head in which nothing is random makes one."""
        return range(recipe.runs)

    @abstractmethod
    def fit(
        self,
        train: Embedded,
        select: Embedded,
        classes: int,
        recipe: "Protocol",
        runs: Sequence[int],
        metric: str = "balanced_accuracy",
        patience: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[FittedRun]:
        """Fit the given runs.

        Args:
            train: What the head learns from.
            select: What chooses the checkpoint or the regularisation.
            classes: Number of classes C.
            recipe: The `eva_core.contracts.protocol.Protocol` in force.
            runs: Run numbers; run k depends on `recipe.seed + k` alone.
            metric: What is greatest on `select` in what is chosen, one of `eva_core.classification.metric_names.NAMES`.
            patience: Evaluations without improvement before a run stops; None: it never does.
            progress: Called now and then with (work done, all work).
        """

    @abstractmethod
    def logits(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        """Embeddings (N, D) -> (N, C) class logits, or (N, 1) where a binary head has a single one."""


class SegmentationHead(ABC):
    """Scores the classes of every pixel from a feature map. How it is trained is the protocol's."""

    @abstractmethod
    def decoder(self, channels: int, classes: int) -> nn.Module:
        """A new network with random weights from torch's global generator.

        Its `forward(features, images)` takes feature maps (B, channels, h, w) and the normalised images they come from,
        (B, 3, H, W), and gives logits (B, classes, H', W'); where H', W' is not H, W they are resized, bilinear.
        """


def sha256_of_weights(module: nn.Module) -> str:
    """SHA-256 over the state dict: sorted names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    state: Iterable[tuple[str, Tensor]] = sorted(module.state_dict().items())
    for name, tensor in state:
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
