"""Protocol: all that decides a score besides model, data and head, and so a part of the score."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from eva_core.contracts.cards import Geometry, ModelCard, Pooling
from eva_core.errors import UsageError, refuse


@dataclass(frozen=True)
class Protocol:
    """The part of a protocol that every kind of task reads; `configs/protocols/` holds the named protocols.

    A kind of task adds a section of its own, as a field with its name: see `eva_core.config.protocols`.

    Attributes:
        name: Its published name; results carry it, with `+field=value` for each field that was overridden, or with
            `+unpublished=` and a hash of all fields where eva ships no protocol of this name.
        transform: `module.function(geometry) -> callable` that turns a uint8 (H, W, 3) image into uint8 (3, S, S).
        geometry: The resize and crop for every model, or `card` for each model's own.
        pooling: Pooling for every model, or `card`.
        precision: Precision of the forward pass, or `card`.
        heads: The heads that the protocol defines; the first is the default.
        metrics: The main metric of a classification, by which heads are selected too, and those that boards show beside
            it; empty: that of the dataset alone.
        selection: `heldout`: val where there are train, val and test, else the only held-out split, which is then also
            reported; `holdout`: a part of train, made by group, so that the reported split is touched once.
        holdout: Share of train that is held out under `holdout`.
        lr: Learning rate of trained heads; several are tried under `holdout` selection and the best kept.
        betas: Decay rates of AdamW's moments, both of at least 0 and below 1.
        weight_decay: Weight decay of AdamW.
        warmup_factor: Share of `lr` during `warmup_epochs`.
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
    """

    name: str
    transform: str = "eva_vision.transforms.resize_and_crop"
    geometry: Geometry | Literal["card"] = field(default_factory=Geometry)
    pooling: Pooling | Literal["card"] = "cls"
    precision: Literal["fp32", "bf16", "fp16", "card"] = "fp32"
    heads: tuple[str, ...] = ("linear",)
    metrics: tuple[str, ...] = ()
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

    def __post_init__(self) -> None:
        if isinstance(self.geometry, Geometry):  # here: within a union, jsonargparse would hide what is said
            refuse_small(self.geometry, "geometry.", ("resize", "crop"), ())
        refuse_small(self, "", ("steps", "runs", "batch_size", "shots", "evaluate_every"), ("warmup_epochs", "seed"))
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
        """The resize and crop for a model."""
        return card.geometry if self.geometry == "card" else self.geometry

    def pooling_for(self, card: ModelCard) -> Pooling:
        """The pooling for a model."""
        return card.pooling if self.pooling == "card" else self.pooling

    def precision_for(self, card: ModelCard) -> str:
        """The precision of the forward pass for a model: `fp32`, `bf16` or `fp16`."""
        return card.precision if self.precision == "card" else self.precision


@dataclass(frozen=True)
class ResolvedProtocol:
    """A protocol as one task reads it for one dataset.

    Attributes:
        title: The string by which results are matched.
        heads: The heads that the protocol defines here; the first is the default.
        fields: The fields that this task reads and that are not the default, for keys.
        section: The task's own section, as it holds for this dataset; None where the task has none.
    """

    title: str
    heads: tuple[str, ...]
    fields: Mapping[str, Any]
    section: Any = None


def refuse_small(settings: Any, where: str, from_one: tuple[str, ...], from_zero: tuple[str, ...]) -> None:
    """Refuse counts that are too small, where they are given.

    Args:
        settings: What has them as attributes.
        where: What stands before their names in a message, as `geometry.`.
        from_one: Names of those of at least 1.
        from_zero: Names of those of at least 0.
    Raises:
        UsageError: Names the first.
    """
    for names, least in ((from_one, 1), (from_zero, 0)):
        for name in names:
            value = getattr(settings, name)
            too_small = value is not None and value < least
            refuse((too_small, f"protocol.{where}{name} to be at least {least}", value))


Section = TypeVar("Section")


def refuse_unknown_departures(section: Any, where: str) -> None:
    """Refuse what the `datasets` of a section name for single datasets and no field of it is.

    Raises:
        UsageError: Names the first.
    """
    names = {f.name for f in fields(section)} - {"datasets"}
    for dataset, departures in section.datasets.items():
        unknown = sorted(set(departures) - names)
        if unknown:
            raise UsageError(f"Expected fields of protocol.{where} for {dataset}, but got {unknown[0]!r}.")


def for_dataset(section: Section, dataset: str, published: Section | None = None) -> Section:
    """A section with a field `datasets`, as it holds for one dataset.

    Args:
        section: A dataclass; its `datasets` say by name what is otherwise.
        dataset: Name of the dataset.
        published: The section as shipped: what differs from it was asked for, and holds for this dataset too.
    """
    whole: Any = section
    departures = {k: tuple(v) if isinstance(v, list) else v for k, v in whole.datasets.get(dataset, {}).items()}
    asked = {k for k in departures if published is not None and getattr(section, k) != getattr(published, k)}
    changes: dict[str, Any] = {k: v for k, v in departures.items() if k not in asked}
    changed: Section = replace(whole, datasets={}, **changes)
    return changed
