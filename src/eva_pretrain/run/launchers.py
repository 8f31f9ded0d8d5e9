"""Launchers: what started the processes of a run (torchrun, srun, another one, or eva), and how many there are."""

import os
from typing import Literal

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from typing_extensions import override

from eva_core.accelerator import gpus
from eva_core.errors import UsageError
from eva_core.extraction.launching import ThisMachine

_SRUN = "SLURM_STEP_NUM_TASKS"
"""Variable that srun sets for the processes that it starts. SLURM_NTASKS belongs to the job: its batch script and its
shells have it too, though no other process was started beside them."""
_PROCESSES = 16
"""Processes that are trained on a CPU of any number of cores, to try what many devices do."""
_OF_NODES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
"""Variables by which processes of several nodes find each other where no launcher tells them."""
_VARIABLE = {
    "torchrun": "TORCHELASTIC_RUN_ID",
    "srun": _SRUN,
    "jsrun": "JSM_NAMESPACE_SIZE",
    "mpirun": "OMPI_COMM_WORLD_SIZE",
}


class Srun(SLURMEnvironment):
    """Environment of the tasks of one srun. SLURM need not queue a run again, as it resumes from our checkpoints."""

    def __init__(self) -> None:
        super().__init__(auto_requeue=False)

    @staticmethod
    @override
    def detect() -> bool:
        """Whether this process is one of several tasks that srun started."""
        return int(os.environ.get(_SRUN) or 1) > 1

    @staticmethod
    @override
    def _validate_srun_variables() -> None:
        """Accept `--ntasks` without `--ntasks-per-node`, which Lightning refuses: we compare the numbers themselves."""

    @override
    def world_size(self) -> int:
        """Count the tasks of the srun, which may be fewer than those of the job."""
        return int(os.environ[_SRUN])

    @override
    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Accept all settings: `environment_of` compares with the srun, where Lightning compares with the job."""


def devices_of(devices: int | Literal["auto"], nodes: int) -> int:
    """Count the devices of a node: as configured, else those that torchrun or srun uses, else all GPUs, or one CPU."""
    if devices != "auto":
        return devices
    if TorchElasticEnvironment.detect():
        return int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if Srun.detect():
        return max(int(os.environ[_SRUN]) // nodes, 1)
    return gpus() or 1


def environment_of(devices: int, nodes: int) -> ClusterEnvironment:
    """Describe the place of this process among those of its run.

    Args:
        devices: Devices of each node.
        nodes: Number of machines.

    Raises:
        UsageError: The launcher has started another number of processes than the run has devices, or there are not so
            many devices, or nothing says where the other nodes are.
    """
    machine = ThisMachine()
    if machine.creates_processes_externally:
        return machine
    name, kind, started = _launcher()
    most = gpus() or max(os.cpu_count() or 1, _PROCESSES)
    if started == 1 and devices > most:
        what = "GPUs" if gpus() else "processes without a GPU"
        raise UsageError(f"Expected training.devices to be at most {most} {what} here, but got {devices}. Lower it.")
    expected = devices * nodes
    if started > 1:
        if started != expected:
            raise UsageError(
                f"Expected {name} to start as many processes as the run has devices, {expected}, but its variables say "
                f"{started}. Start {expected}, or change training.devices ({devices}) and training.nodes ({nodes}); if "
                f"{name} did not start this, unset {_VARIABLE[name]}."
            )
        return kind()
    if nodes > 1:
        if absent := [name for name in _OF_NODES if name not in os.environ]:
            raise UsageError(
                f"Expected torchrun or srun to start the {nodes} nodes, or {', '.join(_OF_NODES)} to be set on each, "
                f"but nothing sets {', '.join(absent)}. Start it by one of them, or lower training.nodes."
            )
        return LightningEnvironment()
    if devices > 1:
        machine.announce()
    return machine


def _launcher() -> tuple[str, type[ClusterEnvironment], int]:
    """Name of the launcher of this process, its environment, and the number of processes that it started."""
    if TorchElasticEnvironment.detect():  # first: it may run below SLURM
        return "torchrun", TorchElasticEnvironment, int(os.environ.get("WORLD_SIZE") or 1)
    if Srun.detect():
        return "srun", Srun, int(os.environ[_SRUN])
    if LSFEnvironment.detect():
        return "jsrun", LSFEnvironment, int(os.environ["JSM_NAMESPACE_SIZE"])
    if MPIEnvironment.detect():
        return "mpirun", MPIEnvironment, MPIEnvironment().world_size()
    return "eva", ThisMachine, 1
