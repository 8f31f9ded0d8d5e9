"""Targets that are not stored say the same as those that are, in one graph of each function."""

from collections.abc import Iterator

import pytest
import torch
import torch._dynamo as dynamo
from torch import Tensor
from torch.testing import assert_close

from eva_pretrain import compilation
from eva_pretrain.losses import targets
from eva_pretrain.losses.dino import dinov2_loss
from eva_pretrain.losses.ibot import ibot_loss
from eva_pretrain.losses.targets import Targets, probabilities_of
from eva_pretrain.losses.teacher_targets import Centring, sinkhorn, sinkhorn_targets

Arrays = dict[str, Tensor]


@pytest.fixture
def _as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values do not depend on graphs, whose making takes long."""
    monkeypatch.setattr(targets, "compiled", lambda function: function)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Counts of the graphs that are made: a CPU takes a minute to compile them, and they are what can be wrong."""
    monkeypatch.setitem(compilation._OPTIONS, "backend", "eager")
    compilation.compiled.cache_clear()
    dynamo.reset()
    dynamo.utils.counters.clear()
    yield dynamo.utils.counters["frames"]
    compilation.compiled.cache_clear()
    dynamo.reset()


@pytest.mark.usefixtures("_as_written")
def test_equals_dinov2(dinov2: Arrays) -> None:
    out = sinkhorn_targets(dinov2["dino_teacher_logits_1"], 0.07)
    assert_close(probabilities_of(out), dinov2["dino_sk_T07_it3"], atol=1e-5, rtol=0)
    centring = Centring(64)
    centring.update(dinov2["dino_teacher_logits_1"])
    second = centring.targets(dinov2["dino_teacher_logits_2"], 0.07)
    assert_close(probabilities_of(second), dinov2["dino_center_T07_probs_2"], atol=1e-5, rtol=0)


@pytest.mark.usefixtures("_as_written")
def test_is_stable_for_large_logits() -> None:
    for size in (1.0, 1e4, 1e7):
        logits = torch.randn(7, 11, generator=torch.Generator().manual_seed(0)) * size
        logits[2] -= 10 * size
        logits[:, 3] -= 10 * size
        assert_close(probabilities_of(sinkhorn_targets(logits, 1.0)), sinkhorn(logits, 1.0), atol=1e-5, rtol=0)


def gradients(n: int, teacher: Tensor | Targets) -> list[Tensor]:
    """Losses and gradients of bf16 logits of hidden patches, and of class tokens of 2 global and 3 local crops."""
    rng = torch.Generator().manual_seed(n)
    rows, logits = (torch.randn(*shape, 9, generator=rng).bfloat16().requires_grad_() for shape in ((n,), (5, n // 2)))
    first, second = dinov2_loss(logits[:2], logits[2:], teacher.unflatten(0, (2, -1)))
    third = ibot_loss(rows, teacher, torch.ones(n), 3)
    return [first, second, third, *torch.autograd.grad(first + 2 * second + 3 * third, (rows, logits))]


@pytest.mark.usefixtures("_as_written")
def test_losses_and_gradients_are_those_of_stored_probabilities() -> None:
    teacher = torch.randn(6, 9).bfloat16()
    ours, expected = (gradients(6, make(teacher, 0.05)) for make in (sinkhorn_targets, sinkhorn))
    for a, b in zip(ours, expected, strict=True):
        assert_close(a, b, atol=1e-3, rtol=1e-2 if a.dtype == torch.bfloat16 else 1e-5)


def test_there_is_one_graph_of_each_function_whatever_the_rows_and_the_temperature(graphs: dict[str, int]) -> None:
    made = []
    for n in (6, 4):
        teacher, temperature = torch.randn(n, 9).bfloat16(), 0.04 + n / 100
        rows = torch.randn(n, 9).bfloat16().requires_grad_()
        losses = [
            ibot_loss(rows, make(teacher, temperature), torch.ones(n), 3) for make in (sinkhorn_targets, sinkhorn)
        ]
        assert_close(*losses, atol=1e-4, rtol=1e-5)
        assert_close(*(torch.autograd.grad(loss, rows)[0] for loss in losses), atol=1e-3, rtol=1e-2)  # of bf16
        made.append(graphs["total"])
    assert made[0] == made[1] == graphs["ok"]


@pytest.mark.usefixtures("_as_written")
def test_no_rows_and_no_local_crops() -> None:
    none = sinkhorn_targets(torch.empty(0, 4), 0.04)
    assert probabilities_of(none).shape == (0, 4)
    masked, logits = (torch.zeros(*rows, 4).requires_grad_() for rows in ((0,), (2, 3)))
    first, second = dinov2_loss(logits, logits[2:], sinkhorn_targets(torch.randn(6, 4), 0.04).unflatten(0, (2, 3)))
    (first + second + ibot_loss(masked, none, torch.ones(0), 2)).backward()
    assert second.item() == 0
    assert masked.grad.shape == (0, 4)
    assert logits.grad.any()
