"""Splits of THUNDER where eva-0.4 has two: its test is what eva calls val, and its val is a part of train."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

from eva_core.contracts.dataset import Sample

Splits = Literal["eva", "thunder"]
"""Whose splits: kaiko-ai/eva @ 73b61a79, or MICS-Lab/thunder @ 1c5939f."""
SEED = 0
"""THUNDER draws by Python's random numbers from this seed."""
DRAWN = ("train", "val")


def as_thunder(samples: Sequence[Sample], val: Collection[str]) -> list[Sample]:
    """Rename the splits of eva.

    Args:
        samples: In train and val.
        val: Ids of the samples of train that select.
    """
    return [replace(s, split="test" if s.split == "val" else "val" if s.id in val else "train") for s in samples]
