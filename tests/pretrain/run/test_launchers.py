"""Who started the processes of a run."""

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

from eva_core.errors import UsageError
from eva_core.extraction.launching import ThisMachine
from eva_pretrain.run import launchers
from eva_pretrain.run.launchers import Srun, devices_of, environment_of

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_NNODES": "1"}
STEP = {**JOB, "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}
TORCHRUN = {
    **{"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
    **{"GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1234"},
}
LEFT_OVER = {name: TORCHRUN[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
NODES = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1234", "NODE_RANK": "1"}
JSRUN = {
    **{"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "/nowhere", "JSM_NAMESPACE_LOCAL_RANK": "0"},
    **{"JSM_NAMESPACE_SIZE": "1", "JSM_NAMESPACE_RANK": "0"},
}


@pytest.mark.parametrize(
    ("variables", "devices", "nodes", "kind"),
    [
        ({}, 1, 1, ThisMachine),
        ({}, 2, 1, ThisMachine),
        (JOB, 1, 1, ThisMachine),  # a batch script or a shell: nobody starts the other three
        ({**JOB, "SLURM_NTASKS_PER_NODE": "4"}, 1, 1, ThisMachine),
        ({**JOB, "SLURM_NTASKS_PER_NODE": "4"}, 4, 1, ThisMachine),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, 1, 1, ThisMachine),  # srun of one task
        (STEP, 4, 1, Srun),
        (STEP, 2, 2, Srun),
        (NODES, 2, 2, LightningEnvironment),
        ({**STEP, "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "8"}, 4, 1, Srun),  # fewer than the job has
        (TORCHRUN, 2, 1, TorchElasticEnvironment),
        ({**STEP, **TORCHRUN}, 2, 1, TorchElasticEnvironment),
        ({**STEP, **TORCHRUN, "WORLD_SIZE": "1"}, 1, 1, ThisMachine),
        (LEFT_OVER, 1, 1, ThisMachine),
        (JSRUN, 1, 1, ThisMachine),
        ({"MASTER_ADDR": "a", "MASTER_PORT": "1", "WORLD_SIZE": "3", "RANK": "2"}, 1, 1, ThisMachine),  # Kubeflow
    ],
)
def test_the_environment_is_that_of_whoever_started_the_processes(variables, devices, nodes, kind, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = environment_of(devices, nodes)
    found.validate_settings(devices, nodes)
    found.teardown()
    assert type(found) is kind
    if kind is Srun:
        assert (found.world_size(), found.global_rank(), found.node_rank()) == (4, 3, 1)
        assert not found.auto_requeue
    if kind is ThisMachine:
        assert (found.node_rank(), found.local_rank()) == (0, 0)


@pytest.mark.parametrize(
    ("variables", "devices", "said"),
    [
        (STEP, 1, "Expected srun to start as many processes as the run has devices, 1, but its variables say 4"),
        (TORCHRUN, 1, "Expected torchrun .* devices, 1, but its variables say 2.* unset TORCHELASTIC_RUN_ID"),
        ({**JSRUN, "JSM_NAMESPACE_SIZE": "2"}, 4, "Expected jsrun .* devices, 4, but its variables say 2"),
    ],
)
def test_another_number_of_processes_is_one_line(variables, devices, said, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=said):
        environment_of(devices, 1)


def test_nodes_that_nobody_starts_are_one_line(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(UsageError, match=r"to start the 2 nodes, .* but nothing sets MASTER_PORT, NODE_RANK"):
        environment_of(1, 2)


@pytest.mark.parametrize(("gpus", "most"), [(0, 16), (2, 2)])
def test_more_devices_than_there_are_is_one_line(gpus, most, monkeypatch):
    monkeypatch.setattr(launchers, "gpus", lambda: gpus)
    monkeypatch.setattr(launchers.os, "cpu_count", lambda: 4)
    environment_of(most, 1)
    with pytest.raises(UsageError, match=f"Expected training.devices to be at most {most} .* but got {most + 1}"):
        environment_of(most + 1, 1)


@pytest.mark.parametrize(
    ("variables", "nodes", "gpus", "devices"),
    [
        ({}, 1, 0, 1),
        ({}, 1, 2, 2),
        (TORCHRUN, 1, 8, 2),
        (LEFT_OVER, 1, 0, 1),
        (JOB, 1, 0, 1),
        (STEP, 1, 0, 4),
        (STEP, 2, 8, 2),
    ],
)
def test_auto_is_as_many_as_are_started(variables, nodes, gpus, devices, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launchers, "gpus", lambda: gpus)
    assert devices_of("auto", nodes) == devices
    assert devices_of(3, nodes) == 3
