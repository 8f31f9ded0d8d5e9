"""The correctness stage of `bench/gpu.py` as tests: what a GPU computes is what a CPU does."""

from pathlib import Path

import pytest
import torch
from gpu_stages import correctness, data
from gpu_stages.stage import Bench

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder: Path = tmp_path_factory.mktemp("gpu")
    data.make(folder, patches=16, side=1024)
    return Bench(torch.device("cuda", 0), folder, folder, dry=False)


@pytest.mark.parametrize("row", correctness.ROWS)
def test_a_gpu_is_as_right_as_a_cpu(row: str, bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    found = correctness.ROWS[row](bench)
    assert found["ok"] is not False, found
