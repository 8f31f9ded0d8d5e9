"""When the Gram teacher takes the weights of the teacher."""

import torch

from eva_pretrain.augment.views import Views
from eva_pretrain.methods.base import Network, Setup
from eva_pretrain.methods.gram_teacher import GramTeacher
from eva_pretrain.network.vit import Architecture, Vit
from eva_pretrain.optimisation.recipe import Recipe

TINY = Architecture("vit_tiny_patch16_224", 32, {"depth": 1, "embed_dim": 12, "num_heads": 1})


def test_it_begins_late_and_is_renewed():
    gram = GramTeacher(Setup(TINY, Views(global_size=32), Recipe(steps=100), 4), weight=2.0, start=0.5, every=10)
    teacher = Network(Vit(TINY, student=False, masked=True), {})
    taken = []
    for step in range(45, 75):
        teacher.vit.network.cls_token.data.fill_(step)
        assert gram.renew(teacher, step) is (step >= 50)
        taken.append(gram.vit.network.cls_token.flatten()[0].item())
    assert taken[5:] == [50.0] * 10 + [60.0] * 10 + [70.0] * 5
    images = torch.randn(2, 3, 32, 32)
    assert gram.loss(images, gram.vit(images).patches).item() == 0
    assert not any(p.requires_grad for p in gram.parameters())
