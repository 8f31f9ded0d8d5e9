"""The seam to GPUs: what it asks torch, and that nothing else does."""

import ast
from pathlib import Path

import pytest
import torch

from eva_core import accelerator

SRC = Path(__file__).parents[2] / "src"
GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")


def asks_for_cuda(path: Path) -> bool:
    """Whether a file has `torch.cuda` in its code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "cuda"
        and (not isinstance(node.value, ast.Name) or node.value.id == "torch")
        for node in ast.walk(tree)
    )


def test_nothing_else_asks_torch_about_gpus():
    found = {str(path.relative_to(SRC)) for path in SRC.rglob("*.py") if asks_for_cuda(path)}
    assert found == {"eva_core/accelerator.py"}


def test_a_cpu_is_never_waited_for_and_counts_no_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: pytest.fail("asked for a GPU"))
    accelerator.wait_for(CPU)
    accelerator.reset_peak_memory(CPU)
    assert accelerator.peak_memory(CPU) is None
    assert not accelerator.is_gpu(CPU)
    assert "NVIDIA" not in accelerator.device_name(CPU)


def test_a_gpu_is_asked(monkeypatch: pytest.MonkeyPatch):
    asked = []
    for name, value in (
        ("get_device_name", "NVIDIA H100 80GB HBM3"),
        ("synchronize", None),
        ("max_memory_allocated", 7),
        ("reset_peak_memory_stats", None),
        ("empty_cache", None),
        ("device_count", 2),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda *_, n=name, v=value: asked.append(n) or v)
    assert accelerator.is_gpu(GPU)
    assert accelerator.gpus() == 2
    assert accelerator.device_name(GPU) == "NVIDIA H100 80GB HBM3"
    assert accelerator.peak_memory(GPU) == 7
    accelerator.wait_for(GPU)
    accelerator.reset_peak_memory(GPU)
    accelerator.release_memory()
    assert {"synchronize", "reset_peak_memory_stats", "empty_cache"} <= {*asked}
