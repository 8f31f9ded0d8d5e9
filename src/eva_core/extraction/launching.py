"""Processes of this machine that we start ourselves, whatever a scheduler or launcher has left in the environment."""

import math
import os
import warnings
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from lightning.fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port
from typing_extensions import override

from eva_core.accelerator import gpus
from eva_core.errors import UsageError
from eva_core.extraction.settings import FabricPrecision

_STARTED_BY = "EVA_STARTED_BY"
"""Holds the process that started this one as another rank of its run."""


class ThisMachine(LightningEnvironment):
    """One process, or several of this machine that Lightning starts.

    Lightning takes SLURM_NTASKS, RANK or LOCAL_RANK for a sign that others are started elsewhere. A batch script, an
    interactive shell, or a process below torchrun has them too, and waits for processes that nobody starts, or fails.
    Here such variables count only where we have set them for a process of our own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_rank = os.environ.get(_STARTED_BY) == str(os.getppid())
        self._made_in = os.getpid()

    def announce(self) -> None:
        """Tell the processes that are started from here on that they are ranks of this one."""
        if not self._is_rank:
            os.environ[_STARTED_BY] = str(os.getpid())

    @override
    def teardown(self) -> None:
        """Leave the environment as it was."""
        super().teardown()
        if not self._is_rank:
            os.environ.pop(_STARTED_BY, None)

    @property
    @override
    def creates_processes_externally(self) -> bool:
        """Whether this process was started as a rank of another."""
        return self._is_rank

    @property
    @override
    def main_address(self) -> str:
        """Address where ranks meet."""
        return super().main_address if self._is_rank else "127.0.0.1"

    @property
    @override
    def main_port(self) -> int:
        """The port there: the one that we were told, or a free one."""
        if not self._is_rank and self._main_port == -1:
            self._main_port = find_free_network_port()
        return super().main_port

    @override
    def local_rank(self) -> int:
        """Number of this process among those of the machine."""
        spawned = os.getpid() != self._made_in  # with this object, and told its number by Lightning
        return super().local_rank() if self._is_rank or spawned else 0

    @override
    def node_rank(self) -> int:
        """Number of this machine: there is one."""
        return 0


def open_fabric(device: str, devices: int, precision: FabricPrecision) -> Fabric:
    """Lightning's handle on devices of this machine: one process, or as many as devices.

    Args:
        device: `auto`, `cpu`, `cuda` or `mps`.
        devices: How many.
        precision: One of the values of `PRECISIONS`.

    Raises:
        UsageError: There are fewer, or they do not compute in this precision.
    """
    there = _number_of(device)
    if there < devices:
        raise UsageError(
            f"Expected {devices} x {device} on this machine, but there is {there or 'none'}. "
            "`eva doctor` lists devices."
        )
    plugins: list[Any] = [ThisMachine()]
    if precision == "16-mixed" and on_cpu(device):
        plugins.append(MixedPrecision("16-mixed", "cpu"))  # by name, Lightning would take bf16 instead
    fabric = Fabric(
        accelerator=device,
        devices=devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        precision=precision if len(plugins) == 1 else None,
        plugins=plugins,
    )
    _refuse_another_precision(fabric, precision)
    return fabric


def on_cpu(device: str) -> bool:
    """Whether `auto`, `cpu`, `cuda` or `mps` means the CPU on this machine."""
    return device == "cpu" or (device == "auto" and not gpus() and not torch.backends.mps.is_available())


def _refuse_another_precision(fabric: Fabric, precision: FabricPrecision) -> None:
    """Refuse a precision that the device lacks: torch would warn and go on in float32, or fail later."""
    if precision == "32-true":
        return
    kind, dtype = fabric.device.type, torch.bfloat16 if precision == "bf16-mixed" else torch.float16
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fabric.autocast():
                there = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == dtype
        except RuntimeError:
            there = False
    if not there:
        name = "bf16" if dtype == torch.bfloat16 else "fp16"
        raise UsageError(f"Expected a precision that {kind} computes in, but got {name}. Use --precision fp32.")


def _number_of(device: str) -> float:
    """Devices of a kind; processes on a CPU are not counted."""
    mps = int(torch.backends.mps.is_available())
    return {"cpu": math.inf, "cuda": gpus(), "mps": mps, "auto": gpus() or mps or math.inf}[device]
