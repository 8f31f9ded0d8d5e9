"""Cards: what is known of a model or a dataset without its weights or files. Importing this needs no torch."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

from eva_core.errors import refuse
from eva_core.files.file_names import check_name

Pooling = Literal["cls", "cls_mean", "mean"]


@dataclass(frozen=True)
class Geometry:
    """How an image of any size becomes the square that a model sees.

    Attributes:
        resize: Length of the short side after resizing, in pixels.
        crop: Side of the centre crop, in pixels.
        interpolation: Always antialiased.
    """

    resize: int = 224
    crop: int = 224
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model without its weights. Nothing is inferred: "unknown" stays unknown.

    Attributes:
        name: The name under which results are reported.
        dim: Size of the embedding under `pooling`, None where it depends on arguments.
        mean: Per-channel mean that the model was trained with, for pixels in 0-1.
        std: Per-channel standard deviation that it was trained with.
        patch_size: Side of a token in pixels, None for a network without tokens.
        prefix_tokens: Class token plus registers, ahead of the patch tokens.
        sizes: Input sides that the model takes, in pixels; empty: any multiple of the patch size.
        geometry: The preprocessing that the model was made for.
        pooling: The pooling that the model was made for.
        precision: The precision that the model was made for.
        mpp: Micrometres per pixel of its training patches, empty where unknown.
        source: Page of the weights: of a repository on the hub, or of one whose release is `revision`.
        revision: Commit or release of the weights.
        file: Name of their file there, with `#md5=...` where a checksum is known; the hub's usual ones unless given.
        gated: Whether the page wants a form to be filled in first.
        trained_on: Training data as its authors state them.
        collections: Public slide collections among them, as in `DatasetCard.collections`; with `others` where the list
            is not complete; None where unknown.
        training_ids: Patients, slides or images among them by id, where the makers list them; what is not public as
            `eva_core.evaluation.contamination.salted` makes it.
        training_images: Image files among them by their bytes: `eva_core.evaluation.contamination.image_hash` of each,
            sorted, 8 bytes each, little-endian.
    """

    name: str
    dim: int | None = None
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    patch_size: int | None = None
    prefix_tokens: int = 0
    sizes: tuple[int, ...] = ()
    geometry: Geometry = field(default_factory=Geometry)
    pooling: Pooling = "cls"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    mpp: tuple[float, ...] = ()
    licence: str = "unknown"
    source: str = "unknown"
    revision: str = "unknown"
    file: str = ""
    gated: bool = False
    trained_on: str = "unknown"
    collections: tuple[str, ...] | None = None
    training_ids: tuple[str, ...] = ()
    training_images: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            wrong = len(values) != 3 or not all(-math.inf < v < math.inf for v in values)
            refuse((wrong, f"{name} of red, green and blue", values))
        refuse((min(self.std) <= 0, "std above 0", self.std))


@dataclass(frozen=True)
class DatasetCard:
    """What is known of a dataset without its files.

    Attributes:
        classes: Class names in the order of the targets, or names of several values; empty where the files decide.
        ordinal: Whether that order has a meaning, as of grades.
        mpp: Micrometres per pixel of the images, None where unknown.
        metric: The main metric: for classification one of `eva_core.classification.metric_names.NAMES`.
        background: Index of the class that a mean over classes leaves out; None: every class counts.
        main_split: The split of the main score; the last held-out one unless given.
        synthetic: True where no image ever was tissue; said wherever the data show.
        access: How to get the files.
        collections: Public slide collections that the images were cut from, such as `TCGA`: a model that was trained
            on one of them has seen the slides, or may have.
    """

    name: str
    task: str = "classification"
    classes: tuple[str, ...] = ()
    mpp: float | None = None
    metric: str = "balanced_accuracy"
    background: int | None = None
    main_split: str | None = None
    licence: str = "unknown"
    citation: str = "unknown"
    access: str = "unknown"
    synthetic: bool = False
    collections: tuple[str, ...] = ()
    ordinal: bool = False

    def __post_init__(self) -> None:
        check_name(self.name, "a dataset's name")  # folders of results and of the cache are called so
        refuse((self.mpp is not None and not 0 < self.mpp < math.inf, "mpp above 0", self.mpp))


Builder = TypeVar("Builder", bound=Callable[..., Any])


def card(model_card: ModelCard) -> Callable[[Builder], Builder]:
    """Attach a card to a model builder, so that it can be read without weights.

    Examples:
        >>> @card(ModelCard("my_model", dim=384))
        ... def my_model():
        ...     raise NotImplementedError
        >>> my_model.card.dim
        384
    """

    def attach(builder: Builder) -> Builder:
        builder.card = model_card  # type: ignore[attr-defined]  # functions and classes take any attribute
        return builder

    return attach


def facts_of(card: Any) -> dict[str, Any]:
    """List the fields of a card as JSON and people can have them: without the hashes of training images."""
    facts = asdict(card)
    facts.pop("training_images", None)
    return facts
