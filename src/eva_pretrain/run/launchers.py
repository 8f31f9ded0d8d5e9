"""Who started the processes of a run: torchrun, srun, another launcher, or we."""

import os
from typing import Literal

from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from eva_core.accelerator import gpus
from eva_core.errors import UsageError
from eva_core.extraction.launching import ThisMachine

_SRUN = "SLURM_STEP_NUM_TASKS"
"""What srun sets for the processes that it starts. SLURM_NTASKS is that of the job: its batch script and its shells
have it too, and nobody starts others beside them."""
_VARIABLE = {
    "torchrun": "TORCHELASTIC_RUN_ID",
    "srun": _SRUN,
    "jsrun": "JSM_NAMESPACE_SIZE",
    "mpirun": "OMPI_COMM_WORLD_SIZE",
}


class Srun(SLURMEnvironment):
    """Tasks of one srun. Our own checkpoints go on, so that SLURM need not put a run in its queue again."""

    def __init__(self) -> None:
        super().__init__(auto_requeue=False)

    @staticmethod
    def detect() -> bool:
        """Whether this process is one of several tasks that srun started."""
        return int(os.environ.get(_SRUN) or 1) > 1

    @staticmethod
    def _validate_srun_variables() -> None:
        """Lightning refuses `--ntasks` without `--ntasks-per-node`; we compare the numbers themselves."""

    def world_size(self) -> int:
        """Tasks of the srun, which may be fewer than those of the job."""
        return int(os.environ[_SRUN])

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Done in `environment_of`: Lightning compares with the job in place of the srun."""


def devices_of(devices: int | Literal["auto"], nodes: int) -> int:
    """Devices of each node: as asked for, else as many as torchrun or srun starts there, else all GPUs, or one CPU."""
    if devices != "auto":
        return devices
    if TorchElasticEnvironment.detect():
        return int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if Srun.detect():
        return max(int(os.environ[_SRUN]) // nodes, 1)
    return gpus() or 1


def environment_of(devices: int, nodes: int) -> ClusterEnvironment:
    """Where this process stands among those of its run.

    Args:
        devices: Devices of each node.
        nodes: Machines.

    Raises:
        UsageError: A launcher has started another number of processes than the run has devices.
    """
    machine = ThisMachine()
    if machine.creates_processes_externally:
        return machine
    name, kind, started = _launcher()
    wanted = devices * nodes
    if started > 1:
        if started != wanted:
            raise UsageError(
                f"Expected {name} to start as many processes as the run has devices, {wanted}, but its variables say "
                f"{started}. Start {wanted}, or change training.devices ({devices}) and training.nodes ({nodes}); if "
                f"{name} did not start this, unset {_VARIABLE[name]}."
            )
        return kind()
    if nodes > 1:  # whoever started them gave their numbers, as Lightning expects them
        return LightningEnvironment()
    if devices > 1:
        machine.announce()
    return machine


def _launcher() -> tuple[str, type[ClusterEnvironment], int]:
    """Name of what started this process, its environment, and how many processes it started."""
    if TorchElasticEnvironment.detect():  # first: it may run below SLURM
        return "torchrun", TorchElasticEnvironment, int(os.environ.get("WORLD_SIZE") or 1)
    if Srun.detect():
        return "srun", Srun, int(os.environ[_SRUN])
    if LSFEnvironment.detect():
        return "jsrun", LSFEnvironment, int(os.environ["JSM_NAMESPACE_SIZE"])
    if MPIEnvironment.detect():
        return "mpirun", MPIEnvironment, MPIEnvironment().world_size()
    return "eva", ThisMachine, 1
