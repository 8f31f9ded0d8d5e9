"""One loss of DINO on a tiny network: its value from the outputs, its gradients, and the centre that follows."""

import math

import pytest
import torch

from eva_core.errors import UsageError
from eva_pretrain.augment.views import Crops
from eva_pretrain.losses.dino import dino_loss
from eva_pretrain.methods.base import Setup
from eva_pretrain.methods.dino import Dino
from eva_pretrain.optimisation.recipe import Recipe
from tests.pretrain.methods.test_base import VIEWS, VIT

BATCH, PROTOTYPES = 3, 8


def make(**changes: float) -> Dino:
    setup = Setup(VIT, VIEWS, Recipe(), BATCH)
    return Dino(setup, prototypes=PROTOTYPES, hidden=16, bottleneck=8, **changes).train()


def crops() -> Crops:
    generator = torch.Generator().manual_seed(0)
    return Crops(*(torch.randn(n * BATCH, 3, size, size, generator=generator) for n, size in ((2, 32), (1, 16))))


def test_the_loss_is_that_of_the_outputs():
    method, seen = make(), crops()
    with torch.no_grad():
        teacher = method.teacher.heads["dino"](method.teacher.vit(seen.global_).cls)
        student = [method.student.heads["dino"](method.student.vit(views).cls) for views in seen]
    targets = (teacher / 0.05).softmax(-1)  # the centre is 0 at first
    expected = dino_loss(torch.cat(student).unflatten(0, (3, BATCH)), targets.unflatten(0, (2, BATCH)), 0.1)
    losses = method.losses(seen, 0.05)
    assert list(losses) == ["dino"]
    torch.testing.assert_close(losses["dino"], expected)
    assert 0 < losses["dino"].item() < 20 * math.log(PROTOTYPES)
    torch.testing.assert_close(method.teacher_probabilities, targets)


def test_the_student_learns_and_the_centre_follows_the_teacher():
    method = make(centre_momentum=0.5)
    method.losses(crops(), 0.05)["dino"].backward()
    assert method.student.vit.network.cls_token.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    before = method.teacher_probabilities
    method.losses(crops(), 0.05)
    assert not torch.allclose(before, method.teacher_probabilities)  # the centre has moved


def test_a_temperature_of_0_is_refused():
    with pytest.raises(UsageError, match="student_temperature above 0"):
        make(student_temperature=0.0)
