"""Runner of the rows of a stage: a row that fails does not affect the others."""

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
from eva_pretrain import compilation

Figures = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Machine and folders of a stage.

    Attributes:
        device: A GPU; a CPU for `--dry` and for tests without a GPU.
        data: Folder from `gpu_stages.data.make`.
        scratch: Folder to write to.
        dry: Use tiny networks and a handful of images.
        memo: Values that a row passes on to later ones.
    """

    device: torch.device
    data: Path
    scratch: Path
    dry: bool
    memo: Figures = field(default_factory=dict)

    @property
    def cpu(self) -> torch.device:
        """CPU that the device is compared with."""
        return torch.device("cpu")

    def small(self, dry: Any, full: Any) -> Any:
        """Choose `dry` in a dry run, else `full`."""
        return dry if self.dry else full

    def seconds(self, job: Callable[[], Any]) -> float:
        """Time a job in seconds, until the device has done it."""
        wait_for(self.device)
        began = time.perf_counter()
        job()
        wait_for(self.device)
        return time.perf_counter() - began

    def rate(self, job: Callable[[], Any], times: int) -> float:
        """Time one of several repetitions in seconds, after one that is not counted."""
        job()
        return self.seconds(lambda: [job() for _ in range(times)]) / times


Row = Callable[[Bench], Figures]


def machine(device: torch.device) -> Figures:
    """Describe device, software and date, without which a figure means nothing."""
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
    """Run the rows of a stage in order, and write all finished rows to `file` after each."""
    if bench.dry:  # a CPU takes minutes to compile; the graphs are what can be wrong
        torch.nn.Module.compile = partialmethod(torch.nn.Module.compile, backend="aot_eager")  # type: ignore[assignment]
        compilation._OPTIONS["backend"] = "aot_eager"
    done: Figures = {"stage": letter, "machine": machine(bench.device), "rows": {}}
    for name, row in module.ROWS.items():
        began = time.perf_counter()
        try:
            figures = row(bench)
        except Exception as error:  # any failure of a row is recorded, and the next row runs
            traceback.print_exc()
            figures = {"failed": reason(error)}
        done["rows"][name] = {**figures, "seconds": round(time.perf_counter() - began, 1)}
        write(file, done)
        print(f"{letter}: {name}: {done['rows'][name]}", file=sys.stderr, flush=True)
        release_memory()


def reason(error: Exception) -> str:
    """Describe an error in one line, short enough for a table."""
    line = next((line for line in str(error).splitlines() if line.strip()), "no message").strip()
    return f"{type(error).__name__}: {line[:160]}"


def write(file: Path, value: Figures) -> None:
    """Write JSON such that the file is whole at any moment."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(value, indent=1))
    draft.replace(file)
