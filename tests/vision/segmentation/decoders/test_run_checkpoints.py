"""Finished runs: read back to the bit, by their key alone, or not at all."""

from pathlib import Path

import pytest
import torch

from eva_core.contracts.head import FittedRun
from eva_vision.segmentation.decoders.heads import ConvSegImage
from eva_vision.segmentation.decoders.run_checkpoints import read_run, remove_runs, write_run

FILE = "run2.safetensors"


@pytest.fixture
def run() -> FittedRun:
    params, last = (ConvSegImage().decoder(3, 2).state_dict() for _ in range(2))
    return FittedRun(2, params, last, 0.5, {"step": 6})


def test_what_is_kept_is_read_back(run: FittedRun, tmp_path: Path):
    assert read_run(tmp_path, 2, "key") is None
    write_run(tmp_path, run, "key")
    again = read_run(tmp_path, 2, "key")
    assert again is not None
    assert (again.run, again.selected_value, again.selected) == (2, 0.5, {"step": 6})
    for mine, theirs in ((again.params, run.params), (again.last, run.last)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_another_key_another_run_and_a_damaged_file_are_none(run: FittedRun, tmp_path: Path):
    write_run(tmp_path, run, "key")
    assert read_run(tmp_path, 2, "another") is None
    assert read_run(tmp_path, 1, "key") is None
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:-7])
    assert read_run(tmp_path, 2, "key") is None
    file.write_bytes(b"")
    assert read_run(tmp_path, 2, "key") is None


def test_what_is_forgotten_is_gone_and_nothing_else(run: FittedRun, tmp_path: Path):
    write_run(tmp_path, run, "key")
    (tmp_path / "heads.safetensors").write_bytes(b"heads")
    remove_runs(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["heads.safetensors"]
