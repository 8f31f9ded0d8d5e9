import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from eva_pretrain.losses.dino import cross_entropy, dino_loss, dinov2_loss
from eva_pretrain.losses.teacher_targets import Centring, sinkhorn
from eva_pretrain.optimisation.schedules import linear_warmup

Arrays = dict[str, Tensor]


def test_three_steps_equal_dino(dino: Arrays) -> None:
    """Loss, gradient, and the centre that is updated after each."""
    centring, temperature = Centring(64), linear_warmup(0.04, 0.07, 3)
    for k in (1, 2, 3):
        student = dino[f"student_{k}"].clone().requires_grad_()
        teacher = dino[f"teacher_{k}"]
        targets = centring(teacher, temperature(int(dino[f"epoch_{k}"])))
        loss = dino_loss(student.view(6, 6, 64), targets.view(2, 6, 64))
        centring.update(teacher)
        loss.backward()
        assert_close(loss, dino[f"loss_{k}"], atol=1e-5, rtol=0)
        assert_close(student.grad, dino[f"grad_{k}"], atol=1e-5, rtol=0)
        assert_close(centring.centre, dino[f"center_after_{k}"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("targets", ["center", "sk"])
def test_losses_and_gradients_equal_dinov2(dinov2: Arrays, targets: str) -> None:
    first = dinov2["dino_teacher_logits_1"]
    teacher = Centring(64)(first, 0.07) if targets == "center" else sinkhorn(first, 0.07)
    name = f"dino_{targets}"
    wide = dinov2["dino_student_global_logits"].clone().requires_grad_()
    near = dinov2["dino_student_local_logits"].clone().requires_grad_()
    teacher = teacher.view(2, 6, 64)
    global_term, local_term = dinov2_loss(wide.view(2, 6, 64), near.view(4, 6, 64), teacher)
    (global_term + local_term).backward()
    assert_close(global_term * 10 / 2, dinov2[f"{name}_global_loss"], atol=1e-5, rtol=0)
    assert_close(local_term * 10, dinov2[f"{name}_local_loss_sum"], atol=1e-5, rtol=1e-6)
    assert_close(global_term + local_term, dinov2[f"{name}_total"], atol=1e-5, rtol=0)
    assert_close(wide.grad, dinov2[f"{name}_grad_global"], atol=1e-5, rtol=0)
    assert_close(near.grad, dinov2[f"{name}_grad_local"], atol=1e-5, rtol=0)


def test_pairs_are_student_by_teacher() -> None:
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(3, 4, 5, generator=rng), torch.randn(2, 4, 5, generator=rng).softmax(-1)
    out = cross_entropy(student, teacher, 0.5)
    for s in range(3):
        for t in range(2):
            assert_close(out[s, t], torch.nn.functional.cross_entropy(student[s] / 0.5, teacher[t]))


def test_dino_leaves_out_the_same_crop() -> None:
    student, teacher = torch.zeros(4, 1, 3), torch.full((2, 1, 3), 1 / 3)
    student[0, 0, 0] = 100.0  # dear where the target is uniform
    uniform = torch.tensor(3.0).log()
    dear = cross_entropy(student[:1], teacher[:1])[0, 0]
    assert_close(dino_loss(student, teacher), (dear + 5 * uniform) / 6)


def test_without_local_crops_dinov2_has_the_global_term_alone() -> None:
    student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 5).softmax(-1)
    global_term, local_term = dinov2_loss(student, torch.empty(0, 3, 5), teacher)
    pairs = cross_entropy(student, teacher)
    assert_close(global_term, (pairs[0, 1] + pairs[1, 0]) / 2)
    assert local_term.item() == 0
