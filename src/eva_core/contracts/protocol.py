"""Protocol: the rules under which a score was made, and so a part of the score."""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from eva_core.errors import UsageError, refuse
from eva_core.identity import changed_fields, digest
from eva_core.types import DatasetCard, Geometry, ModelCard, Pooling


@dataclass(frozen=True)
class Segmentation:
    """The rules for masks: how images are cut, how a decoder is trained, what counts.

    Attributes:
        heads: The heads that the protocol defines; the first is the default.
        tile: Side of the tiles that images are cut into, in pixels at `mpp`; None: the crop where tiles are stitched,
            else the whole image is one.
        mpp: Micrometres per pixel to which images are brought first; None: as they are.
        stitch: Tiles cover the image, are predicted as one map, and the image is scored as a whole; else each tile
            inside the image is scored by itself.
        overlap: Pixels that neighbouring tiles share at least, where they are stitched.
        layers: Blocks or stages of the feature map, counted from 0; empty: the model's own choice.
        augment: `flips`; `crops` for random resized crops, for which the backbone runs in every step.
        loss: `dice` (softmax, over the batch), or `dice_ce`, plus cross entropy.
        lr: Learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        decay: Power of the polynomial by which the learning rate decays: (1 - n / steps) ** decay; 0: it is constant.
        decay_by: What n counts. Epochs are few, so that the rate hardly decays: kaiko-eva does so unsaid.
        batch_size: Tiles in a step.
        steps: Optimiser steps.
        evaluate_every: Steps between evaluations; None: after every epoch.
        patience: Evaluations without improvement before a run stops; None: it never does.
        ignore: By what pixels are left out of a score: `target`, or `prediction`, which is wrong (pixels that the
            target leaves out count as errors), for comparison with numbers that were made so.
        empty: A class that the target of an image lacks: `ignore` leaves it out of the image's mean; `penalise` does so
            only where it was not predicted either, else it scores 0.
        datasets: What is otherwise for single datasets: `{bcss: {steps: 513}}`.
    """

    heads: tuple[str, ...] = ("linear_seg",)
    tile: int | None = None
    mpp: float | None = None
    stitch: bool = True
    overlap: int = 32
    layers: tuple[int, ...] = ()
    augment: tuple[Literal["flips", "crops"], ...] = ()
    loss: Literal["dice", "dice_ce"] = "dice"
    lr: float = 2e-3
    weight_decay: float = 0.01
    decay: float = 0.0
    decay_by: Literal["step", "epoch"] = "step"
    batch_size: int = 64
    steps: int = 2000
    evaluate_every: int | None = None
    patience: int | None = None
    ignore: Literal["target", "prediction"] = "target"
    empty: Literal["ignore", "penalise"] = "penalise"
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {f.name for f in fields(self)} - {"datasets"}
        for dataset, departures in self.datasets.items():
            unknown = sorted(set(departures) - known)
            if unknown:
                raise UsageError(f"Expected fields of protocol.segmentation for {dataset}, but got {unknown[0]!r}.")
        _check(self, "segmentation.", ("tile", "batch_size", "steps", "evaluate_every", "patience"), ("overlap",))
        refuse(
            (not 0 < self.lr < math.inf, "protocol.segmentation.lr above 0", self.lr),
            *(
                (not 0 <= value < math.inf, f"protocol.segmentation.{name} of at least 0", value)
                for name, value in (("weight_decay", self.weight_decay), ("decay", self.decay))
            ),
            (self.mpp is not None and not 0 < self.mpp < math.inf, "protocol.segmentation.mpp above 0", self.mpp),
        )

    def of(self, dataset: str, published: "Segmentation | None" = None) -> "Segmentation":
        """The rules for one dataset.

        Args:
            published: The rules as shipped: what differs from them was asked for, and holds for this dataset too.
        """
        departures = {k: tuple(v) if isinstance(v, list) else v for k, v in self.datasets.get(dataset, {}).items()}
        asked = {k for k in departures if published is not None and getattr(self, k) != getattr(published, k)}
        changes: dict[str, Any] = {k: v for k, v in departures.items() if k not in asked}
        return replace(self, datasets={}, **changes)


@dataclass(frozen=True)
class Protocol:
    """One evaluation protocol; `configs/protocols/` holds the named ones.

    Attributes:
        name: Its published name; results carry it, with `+field=value` for each field that was overridden, or with
            `+unpublished=` and a hash of all fields where eva ships no protocol of this name.
        transform: `module.function(geometry) -> callable` that turns a uint8 (H, W, 3) image into uint8 (3, S, S).
        geometry: The resize and crop for every model, or `card` for each model's own.
        pooling: Pooling for every model, or `card`.
        precision: Precision of the forward pass, or `card`.
        heads: The heads that the protocol defines; the first is the default.
        selection: `heldout`: val where there are train, val and test, else the only held-out split, which is then also
            reported; `holdout`: a part of train, made by group, so that the reported split is touched once.
        holdout: Share of train that is held out under `holdout`.
        lr: Learning rate of trained heads; several are tried under `holdout` selection and the best kept.
        betas: Of AdamW: how slowly it forgets gradients and their squares.
        weight_decay: Weight decay of AdamW.
        warmup_factor: Share of `lr` during the warm-up.
        warmup_epochs: Epochs at `lr * warmup_factor` before the full rate.
        batch_size: Embeddings in a step of a trained head.
        steps: Optimiser steps of a trained head.
        evaluate_every: Steps between evaluations; None: after every epoch.
        patience: Evaluations without improvement before a run stops, by dataset; none for those not listed.
        min_delta: Least gain that counts as an improvement for `patience`; the best checkpoint is the best.
        shots: Training images per class, drawn anew for each run; None: all.
        C: Inverse regularisation strengths that `logreg` tries.
        runs: Repeats of a seeded head.
        seed: Run k depends on `seed + k` alone.
        segmentation: The rules for datasets of masks, which share geometry, pooling, precision, selection, hold-out,
            runs and seed with the others.
    """

    name: str
    transform: str = "eva_vision.transforms.resize_and_crop"
    geometry: Geometry | Literal["card"] = field(default_factory=Geometry)
    pooling: Pooling | Literal["card"] = "cls"
    precision: Literal["fp32", "bf16", "fp16", "card"] = "fp32"
    heads: tuple[str, ...] = ("linear",)
    selection: Literal["heldout", "holdout"] = "heldout"
    holdout: float = 0.2
    lr: tuple[float, ...] = (3e-4,)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    warmup_factor: float = 1 / 3
    warmup_epochs: int = 0
    batch_size: int = 256
    steps: int = 12_500
    evaluate_every: int | None = None
    patience: dict[str, int] = field(default_factory=dict)
    min_delta: float = 0.0
    shots: int | None = None
    C: tuple[float, ...] = ()
    runs: int = 5
    seed: int = 0
    segmentation: Segmentation = field(default_factory=Segmentation)

    def __post_init__(self) -> None:
        if isinstance(self.geometry, Geometry):  # here: within a union, jsonargparse would hide what is said
            _check(self.geometry, "geometry.", ("resize", "crop"), ())
        _check(self, "", ("steps", "runs", "batch_size", "shots", "evaluate_every"), ("warmup_epochs", "seed"))
        refuse(
            (not 0 < self.holdout < 1, "protocol.holdout between 0 and 1", self.holdout),
            (not self.lr or not all(0 < lr < math.inf for lr in self.lr), "protocol.lr as numbers above 0", self.lr),
            (not all(0 < c < math.inf for c in self.C), "protocol.C as numbers above 0", self.C),
            (not all(0 <= beta < 1 for beta in self.betas), "protocol.betas of at least 0 and below 1", self.betas),
            (not 0 <= self.weight_decay < math.inf, "protocol.weight_decay of at least 0", self.weight_decay),
            (not 0 < self.warmup_factor < math.inf, "protocol.warmup_factor above 0", self.warmup_factor),
            (not 0 <= self.min_delta < math.inf, "protocol.min_delta of at least 0", self.min_delta),
            (any(n < 1 for n in self.patience.values()), "protocol.patience of at least 1", self.patience),
        )

    def geometry_for(self, card: ModelCard) -> Geometry:
        return card.geometry if self.geometry == "card" else self.geometry

    def pooling_for(self, card: ModelCard) -> Pooling:
        return card.pooling if self.pooling == "card" else self.pooling

    def precision_for(self, card: ModelCard) -> str:
        return card.precision if self.precision == "card" else self.precision

    def heads_for(self, dataset: DatasetCard, published: "Protocol | None" = None) -> tuple[str, ...]:
        """The heads that the protocol defines for a dataset; the first is the default.

        Args:
            published: The protocol as shipped: heads that differ from it were asked for, and hold for every dataset.
        """
        if dataset.task != "segmentation":
            return self.heads
        return self.segmentation_for(dataset.name, published).heads

    def segmentation_for(self, dataset: str, published: "Protocol | None") -> Segmentation:
        """The rules for masks of a dataset; what differs from the protocol as shipped holds for every one."""
        return self.segmentation.of(dataset, published.segmentation if published else None)

    def title(self, published: "Protocol | None", head: str, dataset: DatasetCard) -> str:
        """The string by which results are matched: the name, then every departure from what was published.

        Args:
            published: The protocol of this name as shipped; None where there is none.
            head: Name of the head in use.
            dataset: Rules for other tasks than its own do not count.
        """
        departures: dict[str, Any] = {}
        if published is None:
            departures["unpublished"] = digest(changed_fields(self))[:8]
            if dataset.task == "segmentation" and self.segmentation.of(dataset.name).ignore == "prediction":
                departures["segmentation.ignore"] = "prediction"  # said whatever the protocol is called
        else:
            mine, theirs = _rules(self, dataset), _rules(published, dataset)
            departures = {name: value for name, value in mine.items() if value != theirs[name]}
        if head not in (published or self).heads_for(dataset):
            departures["head"] = head
        return "+".join([self.name, *(f"{key}={_short(value)}" for key, value in sorted(departures.items()))])


def _check(settings: Any, where: str, from_one: tuple[str, ...], from_zero: tuple[str, ...]) -> None:
    """Refuse counts that are too small, where they are given."""
    for names, least in ((from_one, 1), (from_zero, 0)):
        for name in names:
            value = getattr(settings, name)
            too_small = value is not None and value < least
            refuse((too_small, f"protocol.{where}{name} to be at least {least}", value))


SHARED = frozenset({"transform", "geometry", "precision", "selection", "holdout", "runs", "seed"})
"""Fields that hold for segmentation too."""


def _rules(protocol: Protocol, dataset: DatasetCard) -> dict[str, Any]:
    """The fields that decide a score of this task, apart from the heads, which a title names by themselves."""
    values = asdict(protocol)
    masks = values.pop("segmentation")
    if dataset.task != "segmentation":
        return {name: value for name, value in values.items() if name != "heads"}
    shared = {name: value for name, value in values.items() if name in SHARED}
    return {**shared, **{f"segmentation.{name}": value for name, value in masks.items() if name != "heads"}}


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{k}:{_short(v)}" for k, v in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ",".join(_short(v) for v in value)
    return str(value)
