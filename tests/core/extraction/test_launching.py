"""One process stays one, whatever a scheduler has left in the environment."""

import os

import pytest

from eva_core.errors import UsageError
from eva_core.extraction import launching
from eva_core.extraction.launching import ThisMachine, open_fabric

LEFT = {
    "batch script": {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "job", "SLURM_JOB_ID": "7"},
    "tasks per node": {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "job"},
    "third task": {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "3"},
    "torchrun": {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "GROUP_RANK": "1", "TORCHELASTIC_RUN_ID": "x"},
    "kubeflow": {"MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456", "WORLD_SIZE": "3", "RANK": "2"},
    "jsrun": {
        **{"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "/nowhere", "JSM_NAMESPACE_SIZE": "2"},
        **{"JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_LOCAL_RANK": "1"},
    },
    "mpirun": {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2", "PMI_SIZE": "4", "PMI_RANK": "2"},
}


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_one_device_is_one_process(left, monkeypatch):
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    fabric = open_fabric("cpu", 1, "32-true")
    assert (fabric.world_size, fabric.global_rank, fabric.device.type) == (1, 0, "cpu")


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_several_devices_are_processes_of_ours(left, monkeypatch):
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    machine = open_fabric("cpu", 2, "32-true").strategy.cluster_environment
    assert (machine.node_rank(), machine.local_rank(), machine.main_address) == (0, 0, "127.0.0.1")
    assert machine.main_port != 23456
    assert not machine.creates_processes_externally


def test_a_process_that_we_started_knows_its_rank(monkeypatch):
    with monkeypatch.context() as parent:
        first = ThisMachine()
        first.announce()
        told = {**os.environ, "LOCAL_RANK": "1", "MASTER_PORT": "12345"}
        first.teardown()
        parent.setattr(os, "getppid", os.getpid)  # as in a child of this process
        parent.setattr(os, "environ", told)
        rank = ThisMachine()
        assert (rank.creates_processes_externally, rank.local_rank(), rank.main_port) == (True, 1, 12345)
        rank.announce()
        rank.teardown()
    assert not ThisMachine().creates_processes_externally


@pytest.mark.parametrize(
    ("device", "devices", "there", "said"),
    [
        ("cuda", 1, 0, "Expected 1 x cuda on this machine, but there is none"),
        ("cuda", 3, 2, "Expected 3 x cuda on this machine, but there is 2"),
        ("auto", 3, 2, "Expected 3 x auto on this machine, but there is 2"),
    ],
)
def test_devices_that_are_not_there_are_told(device, devices, there, said, monkeypatch):
    monkeypatch.setattr(launching, "gpus", lambda: there)
    with pytest.raises(UsageError, match=said):
        open_fabric(device, devices, "32-true")


def test_another_error_is_not_told_as_a_device_that_is_missing(monkeypatch):
    def fails(**_):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(launching, "Fabric", fails)
    with pytest.raises(RuntimeError, match="out of luck"):
        open_fabric("cpu", 1, "32-true")
