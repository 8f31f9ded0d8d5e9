"""What a stage is given, and how its rows are run: one that fails costs only itself."""

import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partialmethod
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from eva_core.accelerator import device_name, gpus, is_gpu, release_memory, wait_for

Found = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Where a stage runs.

    Attributes:
        device: A GPU; a CPU where everything is tried in small (`--dry`) or as tests without one.
        data: From `gpu_stages.data.make`.
        scratch: A folder to write to.
        dry: Use tiny networks and a handful of images.
        memo: What one row leaves to a later one.
    """

    device: torch.device
    data: Path
    scratch: Path
    dry: bool
    memo: Found = field(default_factory=dict)

    @property
    def cpu(self) -> torch.device:
        """What the device is compared with."""
        return torch.device("cpu")

    def small(self, dry: Any, full: Any) -> Any:
        """The first where everything is tried in small, else the second."""
        return dry if self.dry else full

    def seconds(self, job: Callable[[], Any]) -> float:
        """Seconds of a job, until the device has done it."""
        wait_for(self.device)
        began = time.perf_counter()
        job()
        wait_for(self.device)
        return time.perf_counter() - began

    def rate(self, job: Callable[[], Any], times: int) -> float:
        """Seconds of one of several repetitions, after one that is not counted."""
        job()
        return self.seconds(lambda: [job() for _ in range(times)]) / times


Row = Callable[[Bench], Found]


def machine(device: torch.device) -> Found:
    """Card, software and date: what a figure means nothing without."""
    return {
        "measured": is_gpu(device),
        "device": device_name(device) if is_gpu(device) else f"A dry run on a CPU ({platform.machine()})",
        "gpus": gpus(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def run(letter: str, module: ModuleType, bench: Bench, file: Path) -> None:
    """Run the rows of a stage in order; `file` holds all that are done after each."""
    if bench.dry:  # a CPU takes minutes to compile; the graphs are what can be wrong
        torch.nn.Module.compile = partialmethod(torch.nn.Module.compile, backend="aot_eager")  # type: ignore[assignment]
    done: Found = {"stage": letter, "machine": machine(bench.device), "rows": {}}
    for name, row in module.ROWS.items():
        began = time.perf_counter()
        try:
            found = row(bench)
        except Exception as error:  # whatever it is, the next row is worth having
            traceback.print_exc()
            found = {"failed": reason(error)}
        done["rows"][name] = {**found, "seconds": round(time.perf_counter() - began, 1)}
        write(file, done)
        print(f"{letter}: {name}: {done['rows'][name]}", file=sys.stderr, flush=True)
        release_memory()


def reason(error: Exception) -> str:
    """One line of what went wrong, short enough for a table."""
    line = next((line for line in str(error).splitlines() if line.strip()), "no message").strip()
    return f"{type(error).__name__}: {line[:160]}"


def write(file: Path, value: Found) -> None:
    """JSON that is whole at any moment."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(value, indent=1))
    draft.replace(file)
