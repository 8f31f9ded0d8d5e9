"""DINO: self-distillation with no labels. Caron et al. 2021, arXiv 2104.14294."""

import torch
from torch import Tensor
from typing_extensions import override

from eva_core.errors import refuse
from eva_pretrain.augment.views import Crops
from eva_pretrain.losses.dino import dino_loss
from eva_pretrain.losses.teacher_targets import Centring
from eva_pretrain.methods.base import Method, Setup
from eva_pretrain.network.projection_head import Head


class Dino(Method):
    """DINO: the student's class token of every crop predicts the teacher's class tokens of the global crops."""

    def __init__(
        self,
        setup: Setup,
        prototypes: int = 65_536,
        hidden: int = 2048,
        bottleneck: int = 256,
        student_temperature: float = 0.1,
        centre_momentum: float = 0.9,
    ) -> None:
        """Build student, teacher and their heads.

        Args:
            setup: Network, views and recipe.
            prototypes: Number of prototypes, the outputs of the projection head.
            hidden: Width of the layers of the projection head.
            bottleneck: Width before the prototypes.
            student_temperature: Temperature of the student's softmax.
            centre_momentum: Momentum of the running mean that is subtracted from the teacher's outputs.

        Raises:
            UsageError: A number makes no sense.
        """
        refuse(
            (not 0 < student_temperature <= 1, "student_temperature above 0 and at most 1", student_temperature),
            where="method",
        )
        super().__init__(
            setup, lambda dim: {"dino": Head(dim, prototypes, hidden, bottleneck, gain=False)}, masked=False
        )
        self.centring = Centring(prototypes, centre_momentum)
        self.student_temperature = student_temperature

    @override
    def losses(self, crops: Crops, temperature: float) -> dict[str, Tensor]:
        student, teacher = self.student, self.teacher
        with torch.no_grad():
            logits = teacher.heads["dino"](teacher.vit(crops.global_).cls)
            targets = (self.centring.targets if self.compiled else self.centring)(logits, temperature)
            self.centring.update(logits)
        tokens, local = self.student_tokens(crops)
        student_logits = student.heads["dino"](torch.cat([tokens.cls, local]))
        batch = len(crops.global_) // 2
        self.teacher_probabilities = targets
        loss = dino_loss(
            student_logits.unflatten(0, (-1, batch)), targets.unflatten(0, (2, batch)), self.student_temperature
        )
        return {"dino": loss}
