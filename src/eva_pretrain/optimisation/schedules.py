"""Schedules by optimiser step, from 0: learning rate, weight decay, momentum of the teacher, temperature."""

import math
from collections.abc import Callable
from typing import Literal

from eva_core.errors import UsageError

Curve = Callable[[int], float]
"""Function from an optimiser step to a value."""


def cosine(base: float, final: float, steps: int, warmup: int = 0, start: float = 0.0, frozen: int = 0) -> Curve:
    """Make a curve: zero while frozen, then linear from `start` to `base`, then half a cosine to `final`.

    Args:
        base: Value after the warm-up.
        final: Value at the end and after it.
        steps: Number of all steps, the frozen ones and the warm-up included.
        warmup: Number of steps of the linear part; the last of them has `base`.
        start: Value at the first step of the warm-up.
        frozen: Number of steps at 0 before the warm-up.

    Raises:
        UsageError: Frozen steps and warm-up are more than all steps.
    Source: Loshchilov and Hutter 2017 (SGDR), equation 5; step for step as in DINO and DINOv2.

    Examples:
        >>> curve = cosine(1.0, 0.0, steps=6, warmup=2)
        >>> [round(curve(step), 3) for step in range(7)]
        [0.0, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if frozen + warmup > steps:
        raise UsageError(
            f"Expected warm-up and frozen steps to fit into {steps} steps, but got {warmup} and {frozen}. "
            "Lower them or train for longer."
        )
    rising = linear_warmup(start, base, warmup)

    def value(step: int) -> float:
        if step >= steps:
            return final
        if step < frozen:
            return 0.0
        if step < frozen + warmup:
            return rising(step - frozen)
        done = (step - frozen - warmup) / (steps - frozen - warmup)
        return final + 0.5 * (base - final) * (1 + math.cos(math.pi * done))

    return value


def linear_warmup(start: float, end: float, steps: int) -> Curve:
    """Make a curve: linear from `start` at step 0 to `end` at step `steps` - 1, constant afterwards.

    Examples:
        >>> [linear_warmup(0.0, 1.0, steps=3)(step) for step in range(4)]
        [0.0, 0.5, 1.0, 1.0]
    """

    def value(step: int) -> float:
        if step >= steps or step == steps - 1 > 0:
            return end
        return start + step * ((end - start) / max(steps - 1, 1))

    return value


def scaled_lr(base: float, batch: int, rule: Literal["sqrt", "linear"]) -> float:
    """Scale a learning rate to the batch of all ranks and accumulated steps together.

    Args:
        base: Learning rate for a batch of 1024 (`sqrt`) or 256 (`linear`).
        batch: Images per optimiser step.
        rule: base * sqrt(batch / 1024), as DINOv2; or base * batch / 256, as DINO.

    Source: Goyal et al. 2017, section 2.1 (`linear`); Krizhevsky 2014, section 5 (`sqrt`).

    Examples:
        >>> scaled_lr(0.004, batch=256, rule="sqrt"), scaled_lr(0.0005, batch=1024, rule="linear")
        (0.002, 0.002)
    """
    return base * math.sqrt(batch / 1024) if rule == "sqrt" else base * batch / 256
