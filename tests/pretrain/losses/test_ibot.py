import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from eva_pretrain.losses.ibot import ibot_loss
from eva_pretrain.losses.teacher_targets import Centring, sinkhorn

Arrays = dict[str, Tensor]


@pytest.mark.parametrize("targets", ["center", "sk"])
def test_loss_and_gradient_equal_dinov2(dinov2: Arrays, targets: str) -> None:
    masks, logits = dinov2["ibot_masks"], dinov2["ibot_teacher_logits"]
    weights = (1 / masks.sum(1).clamp(min=1)).repeat_interleave(masks.sum(1))
    assert_close(weights, dinov2["ibot_masks_weight"])
    teacher = Centring(48)(logits, 0.07) if targets == "center" else sinkhorn(logits, 0.07)
    student = dinov2["ibot_student_logits"].clone().requires_grad_()
    loss = ibot_loss(student, teacher, weights, images=len(masks))
    loss.backward()
    assert_close(loss, dinov2[f"ibot_{targets}_loss"], atol=1e-5, rtol=0)
    assert_close(student.grad, dinov2[f"ibot_{targets}_grad"], atol=1e-5, rtol=0)


def test_nothing_masked_is_zero_and_has_a_gradient() -> None:
    weight = torch.randn(6, 4, requires_grad=True)
    loss = ibot_loss(torch.empty(0, 6) @ weight, torch.empty(0, 4), torch.empty(0), images=2)
    loss.backward()
    assert loss.item() == 0
    assert weight.grad is not None
    assert not weight.grad.any()
