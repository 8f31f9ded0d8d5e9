import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.decoders.losses import dice_ce_loss, dice_loss

LOSSES = pytest.mark.parametrize("loss", [dice_loss, dice_ce_loss])


def batch(seed: int = 0, ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 6, 5, generator=generator)
    target = torch.randint(3, (2, 6, 5), generator=generator, dtype=torch.uint8)
    target[torch.rand(2, 6, 5, generator=generator) < ignored] = IGNORE
    return logits, target


def by_hand(logits: Tensor, target: Tensor) -> tuple[float, float]:
    """Dice loss and cross entropy in numpy, pixel by pixel."""
    sums = np.zeros((3, 3))  # of each class: intersection, predicted, target
    surprise = []
    for image, labels in zip(logits.double().numpy(), target.numpy(), strict=True):
        for y, x in zip(*np.nonzero(labels != IGNORE), strict=True):
            p = np.exp(image[:, y, x]) / np.exp(image[:, y, x]).sum()
            truth = np.eye(3)[labels[y, x]]
            sums += [p * truth, p, truth]
            surprise.append(-np.log(p[labels[y, x]]))
    dice = (2 * sums[0] + 1e-5) / (sums[1] + sums[2] + 1e-5)
    return 1 - dice.mean(), float(np.mean(surprise))


@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_agrees_with_the_definition_pixel_by_pixel(ignored):
    logits, target = batch(ignored=ignored)
    dice, entropy = by_hand(logits, target)
    assert dice_loss(logits, target).item() == pytest.approx(dice, abs=1e-6)
    assert dice_ce_loss(logits, target).item() == pytest.approx(dice + entropy, abs=1e-5)


@LOSSES
def test_the_type_of_the_target_does_not_matter(loss):
    logits, target = batch()
    assert loss(logits, target).equal(loss(logits, target.long()))


@LOSSES
def test_gradients_are_those_of_small_steps(loss):
    logits, target = batch()
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, target), logits)
    step = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)) * 1e-2
    slope = (loss(logits + step, target) - loss(logits - step, target)).item() / 2
    assert (gradient * step).sum().item() == pytest.approx(slope, rel=2e-2, abs=1e-5)


@LOSSES
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_ignored_pixels_have_no_say_and_learn_nothing(loss, seed):
    logits, target = batch(seed)
    other = torch.where((target == IGNORE)[:, None], 10 * torch.randn_like(logits), logits)
    assert loss(other, target).item() == pytest.approx(loss(logits, target).item(), abs=1e-6)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, target), logits)
    assert (gradient.abs().amax(1)[target == IGNORE] == 0).all()


@LOSSES
def test_nothing_to_learn_is_0_with_gradients_of_0(loss):
    logits, target = batch()
    logits.requires_grad_()
    value = loss(logits, torch.full_like(target, IGNORE))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-7)
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


@LOSSES
def test_sure_and_right_is_nothing_lost(loss):
    _, target = batch(ignored=0)
    logits = 40 * torch.nn.functional.one_hot(target.long(), 3).movedim(-1, 1).float()
    assert loss(logits, target).item() == pytest.approx(0, abs=1e-6)


@LOSSES
def test_float32_under_autocast(loss):
    logits, target = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss(logits, target)
    assert mixed.dtype == torch.float32
    assert mixed.equal(loss(logits, target))
    assert loss(logits.bfloat16(), target).dtype == torch.float32


def test_sums_of_many_pixels_stay_exact():
    target = torch.zeros(4, 1024, 1024, dtype=torch.uint8)
    target[:, :, :512] = 1
    logits = torch.zeros(4, 2, 1024, 1024)  # half a pixel each: of either class 2 * n / 4 over n
    assert dice_loss(logits, target).item() == pytest.approx(0.5, abs=1e-5)


@LOSSES
def test_shapes_that_do_not_fit(loss):
    with pytest.raises(ValueError, match=r"Expected logits \(B, C, H, W\) and a target \(B, H, W\), but got"):
        loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 5, dtype=torch.uint8))
