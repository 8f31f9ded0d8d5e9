"""What is compiled says the same as what is stored; here by dynamo's backend that runs graphs as they are."""

from collections.abc import Iterator

import pytest
import torch
import torch._dynamo as dynamo
from torch import Tensor
from torch.testing import assert_close

from eva_pretrain import compilation
from eva_pretrain.losses.dino import dinov2_loss
from eva_pretrain.losses.ibot import ibot_loss
from eva_pretrain.losses.targets import Targets, probabilities_of
from eva_pretrain.losses.teacher_targets import Centring, sinkhorn, sinkhorn_targets

Arrays = dict[str, Tensor]


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Counts of the graphs that are made: a CPU takes a minute to compile them, and they are what can be wrong."""
    monkeypatch.setitem(compilation._OPTIONS, "backend", "eager")
    compilation.compiled.cache_clear()
    dynamo.reset()
    dynamo.utils.counters.clear()
    yield dynamo.utils.counters["frames"]
    compilation.compiled.cache_clear()
    dynamo.reset()


def test_equals_dinov2(dinov2: Arrays) -> None:
    out = sinkhorn_targets(dinov2["dino_teacher_logits_1"], 0.07)
    assert_close(probabilities_of(out), dinov2["dino_sk_T07_it3"], atol=1e-5, rtol=0)
    centring = Centring(64)
    centring.update(dinov2["dino_teacher_logits_1"])
    second = centring.targets(dinov2["dino_teacher_logits_2"], 0.07)
    assert_close(probabilities_of(second), dinov2["dino_center_T07_probs_2"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [1.0, 1e4, 1e7])
def test_is_stable_for_large_logits(size: float) -> None:
    logits = torch.randn(7, 11, generator=torch.Generator().manual_seed(0)) * size
    logits[2] -= 10 * size
    logits[:, 3] -= 10 * size
    assert_close(probabilities_of(sinkhorn_targets(logits, 1.0)), sinkhorn(logits, 1.0), atol=1e-5, rtol=0)


def terms(rows: Tensor, logits: Tensor, targets: Tensor | Targets) -> Tensor:
    first, second = dinov2_loss(logits[:2], logits[2:], targets.unflatten(0, (2, -1)))
    return first + second + ibot_loss(rows, targets, torch.ones(len(rows)), 3)


def test_losses_and_gradients_are_those_of_stored_probabilities_in_one_graph_each(graphs: dict[str, int]) -> None:
    made = []
    for n in (6, 8, 4):  # the number of rows varies, and the temperature rises
        teacher, temperature = torch.randn(n, 9).bfloat16(), 0.04 + n / 100
        rows = torch.randn(n, 9).bfloat16().requires_grad_()
        logits = torch.randn(5, n // 2, 9).bfloat16().requires_grad_()
        ours, expected = (terms(rows, logits, make(teacher, temperature)) for make in (sinkhorn_targets, sinkhorn))
        assert_close(ours, expected, atol=1e-4, rtol=1e-5)
        pairs = zip(*(torch.autograd.grad(total, (rows, logits)) for total in (ours, expected)), strict=True)
        for a, b in pairs:
            assert_close(a, b, atol=1e-3, rtol=1e-2)  # of bf16
        made.append(graphs["total"])
    assert made[0] == made[-1] == graphs["ok"]


def test_no_rows() -> None:
    assert probabilities_of(sinkhorn_targets(torch.empty(0, 4), 0.04)).shape == (0, 4)
