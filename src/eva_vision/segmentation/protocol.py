"""The section of a protocol that segmentation reads."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from eva_core.contracts.protocol import for_dataset, refuse_small, refuse_unknown_departures
from eva_core.errors import refuse


@dataclass(frozen=True)
class Segmentation:
    """The section of a protocol for masks: how images are cut, how a decoder is trained, what counts.

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
        decay_by: What n counts. Epochs are few, so that the rate hardly decays, as in kaiko-eva.
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
        refuse_unknown_departures(self, "segmentation")
        refuse_small(self, "segmentation.", ("tile", "batch_size", "steps", "evaluate_every", "patience"), ("overlap",))
        refuse(
            (not 0 < self.lr < math.inf, "protocol.segmentation.lr above 0", self.lr),
            *(
                (not 0 <= value < math.inf, f"protocol.segmentation.{name} of at least 0", value)
                for name, value in (("weight_decay", self.weight_decay), ("decay", self.decay))
            ),
            (self.mpp is not None and not 0 < self.mpp < math.inf, "protocol.segmentation.mpp above 0", self.mpp),
        )

    def of(self, dataset: str, published: "Segmentation | None" = None) -> "Segmentation":
        """The section as it holds for one dataset.

        Args:
            dataset: Name of the dataset.
            published: The section as shipped: what differs from it was asked for, and holds for this dataset too.
        """
        return for_dataset(self, dataset, published)
