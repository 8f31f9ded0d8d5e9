"""How a run is started on several machines, and which run a folder has."""

import pytest
from lightning.pytorch.plugins.environments import SLURMEnvironment

from eva_pretrain.config import parse
from eva_pretrain.training import started_by

SLURM = {
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_JOB_NAME": "train",
    "SLURM_JOB_ID": "1",
    "SLURM_PROCID": "0",
}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}


@pytest.mark.parametrize(("variables", "slurm"), [({}, False), (SLURM, True), (SLURM | TORCHRUN, False)])
def test_torchrun_decides_where_slurm_started_it(variables, slurm, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = started_by()
    assert isinstance(found, SLURMEnvironment) if slurm else found is None
    assert found is None or not found.auto_requeue


def test_what_is_left_out_decides_which_run_it_is(tmp_path):
    listed = tmp_path / "exclude.txt"
    listed.write_text("a.svs\n")
    argv = ["--config", "demo", "--slides", "x", "--exclude", str(listed)]
    before = parse(argv).key
    assert parse(argv).key == before
    listed.write_text("a.svs\nb.svs\n")
    assert parse(argv).key != before
