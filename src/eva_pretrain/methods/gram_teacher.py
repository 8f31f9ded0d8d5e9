"""Gram teacher of DINOv3: an earlier teacher, whose similarities between patch tokens the student keeps."""

import torch
from torch import Tensor

from eva_core.errors import refuse
from eva_pretrain.losses.gram import gram_loss
from eva_pretrain.methods.base import Network, Setup
from eva_pretrain.network.vit import Vit
from eva_pretrain.optimisation.optimizer import update_teacher


class GramTeacher(Network):
    """Frozen copy of the teacher of an earlier step; its weights are in checkpoints, so that a run resumes exactly.

    Source: Siméoni et al. 2025 (DINOv3), arXiv 2508.10104, section 4.2.
    """

    def __init__(self, setup: Setup, weight: float, start: float, every: int) -> None:
        """Build the network; its weights come with the first `renew`.

        Args:
            setup: Network and recipe.
            weight: Weight of the loss.
            start: Share of the schedule before it begins.
            every: Steps after which the weights are taken anew.

        Raises:
            UsageError: A number makes no sense.
        """
        refuse(
            (not 0 <= start < 1, "gram_start of at least 0 and below 1, where it would never begin", start),
            (every < 1, "gram_every of at least 1", every),
            where="method",
        )
        with torch.random.fork_rng(devices=[]):
            super().__init__(Vit(setup.architecture, student=False, masked=False), {})
        self.requires_grad_(False)
        self.weight, self.first, self.every = weight, round(start * setup.recipe.schedule_length), every

    def renew(self, teacher: Network, step: int) -> bool:
        """Take the weights of the teacher where that is due; tell whether the loss counts at this step."""
        since = step - self.first
        if since >= 0 and since % self.every == 0:
            update_teacher(self.vit, teacher.vit, momentum=0.0)
        return since >= 0

    def loss(self, images: Tensor, patches: Tensor) -> Tensor:
        """Compute the weighted loss of the student's patch tokens (N, h * w, D) of images (N, 3, H, W)."""
        with torch.no_grad():
            anchor = self.vit(images).patches
        return self.weight * gram_loss(patches, anchor)
