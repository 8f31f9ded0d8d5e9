"""How to run the backbone: device, batch, workers."""

import math
import os
from dataclasses import dataclass
from typing import Literal

from eva_core.errors import refuse

FabricPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]
PRECISIONS: dict[str, FabricPrecision] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""Each precision of a protocol as Lightning calls it."""


@dataclass(frozen=True)
class Extraction:
    """How to run the backbone; changes the speed, not the key.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `mps`.
        devices: How many of them.
        batch_size: Images per forward pass; a batch depends on the sample order alone.
        workers: Loader processes per device; None: as many as help.
        on_error: `raise` at an image that cannot be read, or `skip` it, count it and say so.
        part_seconds: A kill loses at most this much work.
        online: Run the backbone in every step of training a head on feature maps, so that images are augmented, not
            the maps; None: only where the protocol crops images at random.
        memory_gb: Feature maps or bags held in memory while heads are trained on them.
        engine: `ray` reads slides over a cluster; for tasks on slides.
        address: Address of the Ray cluster; None: the one that RAY_ADDRESS names, else a local one.
        random_weights: Also score the same architecture with random weights, as a null; it costs a second extraction.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    batch_size: int = 32
    workers: int | None = None
    on_error: Literal["raise", "skip"] = "raise"
    part_seconds: float = 10.0
    online: bool | None = None
    memory_gb: float = 4.0
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    random_weights: bool = False

    def __post_init__(self) -> None:
        refuse(
            (self.devices < 1, "--devices of at least 1", self.devices),
            (self.batch_size < 1, "--batch_size of at least 1", self.batch_size),
            (self.workers is not None and self.workers < 0, "--workers of at least 0", self.workers),
            (not 0 <= self.part_seconds < math.inf, "--part_seconds of at least 0", self.part_seconds),
            (not 0 < self.memory_gb < math.inf, "--memory_gb above 0", self.memory_gb),
        )


def loader_workers(how: Extraction, device: str) -> int:
    """Loader processes: as asked for, else as many as help."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return how.workers if how.workers is not None else (1 if device == "cpu" else min(8, cores))
