"""The section of a protocol that tasks on slides read."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from eva_core.contracts.protocol import for_dataset, refuse_small, refuse_unknown_departures
from eva_core.errors import refuse


@dataclass(frozen=True)
class SlideLevel:
    """The section of a protocol for slides: which patches make a bag, and how a head learns from bags.

    Attributes:
        heads: The heads that the protocol defines; the first is the default.
        reading: `exact`: patches of exactly this mpp, a grid over the tissue; `level`: the coarsest level that is not
            coarser is read as it is, as kaiko-eva does.
        mpp: Micrometres per pixel of a patch; under `level`, of the level at most.
        size: Side of a patch in pixels.
        patches: Most patches of a slide, chosen by the slide alone.
        tissue: Least share of a patch that is tissue.
        precision: What embeddings are kept in.
        runs: Repeats of a seeded head.
        lr: Learning rates of a head trained by gradients; of several, the best by what selects is kept.
        weight_decay: Weight decay of AdamW.
        batch_size: Bags in a step.
        epochs: Passes over train at most.
        patience: Evaluations without improvement before a run stops; None: it never does.
        penalties: Strengths of L2 regularisation that linear heads of values and risks try.
        folds: Parts of cross-validation, where the dataset gives no split.
        datasets: What is otherwise for single datasets: `{panda: {mpp: 0.5, patches: 1000}}`.
    """

    heads: tuple[str, ...] = ("abmil",)
    reading: Literal["exact", "level"] = "exact"
    mpp: float = 0.5
    size: int = 224
    patches: int = 4096
    tissue: float = 0.4
    precision: Literal["fp32", "fp16"] = "fp32"
    runs: int = 5
    lr: tuple[float, ...] = (1e-3,)
    weight_decay: float = 0.01
    batch_size: int = 32
    epochs: int = 100
    patience: int | None = 20
    penalties: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
    folds: int = 5
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse_unknown_departures(self, "slide_...")
        refuse_small(self, "", ("size", "patches", "runs", "batch_size", "epochs", "patience"), ())
        refuse(
            (not 0 < self.mpp < math.inf, "mpp of slides above 0", self.mpp),
            (not 0 <= self.tissue <= 1, "tissue between 0 and 1", self.tissue),
            (not self.lr or not all(0 < lr < math.inf for lr in self.lr), "lr as numbers above 0", self.lr),
            (not 0 <= self.weight_decay < math.inf, "weight_decay of at least 0", self.weight_decay),
            (
                not self.penalties or not all(0 < p < math.inf for p in self.penalties),
                "penalties above 0",
                self.penalties,
            ),
            (self.folds < 2, "folds of at least 2", self.folds),
        )

    def of(self, dataset: str, published: "SlideLevel | None" = None) -> "SlideLevel":
        """The section as it holds for one dataset.

        Args:
            dataset: Name of the dataset.
            published: The section as shipped: what differs from it was asked for, and holds for this dataset too.
        """
        return for_dataset(self, dataset, published)
