"""Outputs of the official code of DINO and DINOv2 on stored inputs: `parity/` says how they were made."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


@cache
def _load(name: str) -> dict[str, Any]:
    with np.load(Path(__file__).parent / "parity" / f"{name}_parity.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def dino() -> dict[str, Any]:
    return _load("dino")


def dinov2() -> dict[str, Any]:
    return _load("dinov2")
