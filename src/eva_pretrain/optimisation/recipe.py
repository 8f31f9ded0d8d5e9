"""Recipe of the optimisation of student and teacher, and its values at each step."""

from dataclasses import dataclass
from typing import Literal

from eva_core.errors import refuse
from eva_pretrain.optimisation.schedules import cosine, linear_warmup, scaled_lr

HIGH_LR = 0.01
"""Learning rate, scaled to the batch, above which a line is said; the highest of our recipes is 0.0053."""

LOW_MOMENTUM = 0.9
"""Momentum of the teacher at the first step, below which a line is said; the lowest of our recipes is 0.97."""


@dataclass(frozen=True)
class Recipe:
    """Numbers of the optimisation. Durations are shares of the schedule, so that a shorter one has the same shape.

    Attributes:
        steps: Optimiser steps.
        schedule_steps: Steps for which schedules and shares are made; none: `steps`. A run with fewer steps stops amid
            them; the same run with more `steps` goes on from there.
        schedule: Curve after the warm-up, `cosine`; `constant`: learning rate, weight decay and momentum keep their
            first value, so that a run has no end that was set beforehand (DINOv3).
        lr: Base learning rate.
        lr_rule: Scale of the learning rate by the batch, `sqrt`: lr x sqrt(batch / 1024) (DINOv2); `linear`: lr x
            batch / 256 (DINO). The batch counts all devices and accumulated batches.
        min_lr: Learning rate at the end of the cosine.
        warmup: Share of the schedule in which the learning rate rises linearly.
        weight_decay: Weight decay at the first and the last step, cosine between.
        momentum: Momentum of the teacher, at the first and the last step, cosine between.
        temperature: Temperature of the teacher, at the first step and after its warm-up.
        temperature_warmup: Share of the schedule of that warm-up.
        layer_decay: Factor of the learning rate from a block to the one below.
        patch_embed: Factor of the learning rate of the patch embedding.
        decay_rule: Parameters without weight decay: `dino`, biases and all of one dimension; `dinov2`, biases, norms
            and layer scale.
        clip: Greatest norm of a gradient.
        clip_by: Scope of that norm: each `parameter` (DINO), or each `module`, backbone and every head (DINOv2).
        freeze_last: Share of the schedule in which the prototypes stay as they are.
        heads_alone: Share of the schedule, before all others, in which the heads train at the full rate and the
            backbone stays as it is; applies to initial weights that come without heads.
        betas: Decay of AdamW's first and second moment.
    """

    steps: int = 125_000
    schedule_steps: int | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    lr: float = 2e-4
    lr_rule: Literal["sqrt", "linear"] = "sqrt"
    min_lr: float = 1e-6
    warmup: float = 0.16
    weight_decay: tuple[float, float] = (0.04, 0.2)
    momentum: tuple[float, float] = (0.994, 1.0)
    temperature: tuple[float, float] = (0.04, 0.07)
    temperature_warmup: float = 0.06
    layer_decay: float = 1.0
    patch_embed: float = 0.2
    decay_rule: Literal["dino", "dinov2"] = "dinov2"
    clip: float = 3.0
    clip_by: Literal["parameter", "module"] = "module"
    freeze_last: float = 0.002
    heads_alone: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        shares = (self.warmup, self.temperature_warmup, self.freeze_last, self.heads_alone)
        factors = (self.layer_decay, self.patch_embed)
        refuse(
            (self.steps < 1, "steps to be at least 1", self.steps),
            (self.schedule_length < 1, "schedule_steps to be at least 1", self.schedule_steps),
            (not 0 < self.lr < 1, "lr above 0 and below 1, as AdamW learns nothing at 1", self.lr),
            (self.momentum[0] > self.momentum[1], "momentum that does not fall, the lesser first", self.momentum),
            (self.temperature[0] > self.temperature[1], "temperature that does not fall", self.temperature),
            (self.freeze_last == 1, "freeze_last below 1, as the prototypes would never learn", self.freeze_last),
            (any(not 0 <= share <= 1 for share in shares), "shares of the steps from 0 to 1", shares),
            (not all(0 <= m <= 1 for m in self.momentum), "momentum from 0 to 1", self.momentum),
            (not all(0 < t <= 1 for t in self.temperature), "temperature above 0 and at most 1", self.temperature),
            (self.clip <= 0, "clip above 0", self.clip),
            (not 0 <= self.min_lr <= self.lr, "min_lr from 0 to lr", self.min_lr),
            (not all(0 <= w <= 1 for w in self.weight_decay), "weight_decay from 0 to 1", self.weight_decay),
            (not all(0 < f <= 1 for f in factors), "layer_decay and patch_embed above 0 and at most 1", factors),
            (not all(0 <= beta < 1 for beta in self.betas), "betas of at least 0 and below 1", self.betas),
            where="recipe",
        )

    @property
    def schedule_length(self) -> int:
        """Steps for which the schedules are made."""
        return self.steps if self.schedule_steps is None else self.schedule_steps

    def unusual(self, batch: int) -> list[str]:
        """Say where a learning rate is high for AdamW, a teacher follows closely, or a warm-up does not end.

        Args:
            batch: Patches of an optimiser step over all devices.
        """
        lines = []
        peak = scaled_lr(self.lr, batch, self.lr_rule)
        if peak > HIGH_LR:
            lines.append(
                f"The learning rate reaches {peak:.2g} at a batch of {batch}, which is high: recipes stay below "
                f"{HIGH_LR}. If the loss is not finite or the monitor tells of a collapse, lower recipe.lr."
            )
        if self.momentum[0] < LOW_MOMENTUM:
            lines.append(
                f"The teacher's momentum begins at {self.momentum[0]:g}, which is low: recipes have at least 0.97. If "
                "the monitor tells of a collapse, raise recipe.momentum."
            )
        warmup = round(self.warmup * self.schedule_length)
        if self.steps <= warmup:
            lines.append(
                f"The run ends at step {self.steps:,}, within the warm-up of {warmup:,}: its learning rate stays below "
                "the one that is asked for. More steps, or a lower recipe.warmup or recipe.schedule_steps, change that."
            )
        return lines


@dataclass(frozen=True)
class Values:
    """Values of the schedules at one optimiser step."""

    lr: float
    last_layer_lr: float
    heads_alone: bool
    weight_decay: float
    momentum: float
    temperature: float


class Schedule:
    """Values of a recipe at each step."""

    def __init__(self, recipe: Recipe, batch: int, heads_first: bool = False) -> None:
        """Fix the curves.

        Args:
            recipe: The recipe.
            batch: Patches of one optimiser step, over all devices.
            heads_first: Whether `heads_alone` applies.
        """
        steps, self._peak = recipe.schedule_length, scaled_lr(recipe.lr, batch, recipe.lr_rule)
        alone = self._heads_alone = round(recipe.heads_alone * steps) if heads_first else 0
        warmup = min(round(recipe.warmup * steps), steps - alone)
        constant = recipe.schedule == "constant"
        self._lr = cosine(self._peak, self._peak if constant else recipe.min_lr, steps, warmup=warmup, frozen=alone)
        self._decay, self._momentum = (
            cosine(first, first if constant else last, steps) for first, last in (recipe.weight_decay, recipe.momentum)
        )
        self._temperature = linear_warmup(*recipe.temperature, round(recipe.temperature_warmup * steps))
        self._freeze_last = alone + round(recipe.freeze_last * steps)

    def __call__(self, step: int) -> Values:
        """Compute the values at an optimiser step, from 0."""
        alone = step < self._heads_alone
        lr = self._peak if alone else self._lr(step)
        return Values(
            lr=lr,
            last_layer_lr=0.0 if not alone and step < self._freeze_last else lr,
            heads_alone=alone,
            weight_decay=self._decay(step),
            momentum=self._momentum(step),
            temperature=self._temperature(step),
        )
