import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from eva_pretrain.losses import cross_entropy as module
from eva_pretrain.losses.cross_entropy import soft_cross_entropy


def plain(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return -(teacher[None] * (student.float() / temperature).log_softmax(-1)[:, None]).sum(-1)


def example(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    student = torch.randn(3, 5, 7, generator=rng).to(dtype).requires_grad_()
    teacher = torch.randn(2, 5, 7, generator=rng).softmax(-1)
    return student, teacher, torch.randn(3, 2, 5, generator=rng)


@pytest.mark.parametrize("block", [1, 14, 2**23])
def test_values_and_gradients_are_those_of_autograd_whatever_the_block(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    student, teacher, weights = example()
    out = soft_cross_entropy(student, teacher, 0.1)
    expected = plain(student, teacher, 0.1)
    assert_close(out, expected, atol=1e-5, rtol=0)
    (grad,) = torch.autograd.grad((out * weights).sum(), student)
    (expected_grad,) = torch.autograd.grad((expected * weights).sum(), student)
    assert_close(grad, expected_grad, atol=1e-5, rtol=0)


def test_targets_need_not_sum_to_one() -> None:
    student, teacher, weights = example()
    teacher = 3 * teacher
    out, expected = soft_cross_entropy(student, teacher, 0.1), plain(student, teacher, 0.1)
    assert_close(out, expected)
    (grad,) = torch.autograd.grad((out * weights).sum(), student)
    assert_close(grad, torch.autograd.grad((expected * weights).sum(), student)[0])


def test_bf16_logits_are_added_up_in_float32_also_under_autocast() -> None:
    student, teacher, weights = example(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        out = soft_cross_entropy(student, teacher, 0.1)
        (grad,) = torch.autograd.grad((out * weights).sum(), student)
    exact = student.detach().float().requires_grad_()
    expected = plain(exact, teacher, 0.1)
    (expected_grad,) = torch.autograd.grad((expected * weights).sum(), exact)
    assert out.dtype == torch.float32
    assert_close(out, expected, atol=1e-5, rtol=0)
    assert grad.dtype == torch.bfloat16
    assert_close(grad, expected_grad.bfloat16())


def test_large_logits_stay_finite() -> None:
    student = torch.tensor([[[1e5, -1e5, 0.0]]], requires_grad=True)
    loss = soft_cross_entropy(student, torch.tensor([[[1.0, 0.0, 0.0]]]), 0.1)
    loss.sum().backward()
    assert student.grad is not None
    assert (loss.item(), student.grad.abs().max().item()) == (0, 0)


def test_no_rows_and_no_crops_have_a_graph() -> None:
    for shape, teachers in (((1, 0, 4), (1, 0, 4)), ((0, 3, 4), (2, 3, 4))):
        student = torch.empty(shape, requires_grad=True)
        total = soft_cross_entropy(student, torch.empty(teachers), 0.1).sum()
        total.backward()
        assert total.item() == 0
        assert student.grad is not None


def test_memory_beside_the_gradient_does_not_grow_with_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 1024)
    peaks = []
    for crops in (2, 16):
        student = torch.randn(crops, 4, 4096, requires_grad=True)
        teacher = torch.randn(2, 4, 4096).softmax(-1)
        held, peak = 0, 0
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            soft_cross_entropy(student, teacher, 0.1).sum().backward()
        events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
        for event in sorted(events, key=lambda event: event.start_ns()):
            held += event.nbytes()
            peak = max(peak, held)
        peaks.append(peak - student.nbytes)
    assert events
    assert max(peaks) < 4 * 4 * 4096  # bytes: less than four rows of float32 beside the gradient
