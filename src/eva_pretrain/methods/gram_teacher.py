"""Gram teacher of DINOv3: an earlier teacher, whose similarities between patch tokens the student keeps."""

import torch
from torch import Tensor

from eva_core.errors import refuse
from eva_pretrain.losses.gram import gram_loss, resized_tokens
from eva_pretrain.methods.base import Network, Setup
from eva_pretrain.network.vit import Vit
from eva_pretrain.optimisation.optimizer import update_teacher


class GramTeacher(Network):
    """Frozen copy of the teacher of an earlier step; its weights are in checkpoints, so that a run resumes exactly.

    Attributes:
        size: Side of its images in pixels where it is not that of the student's; else None.

    Source: Siméoni et al. 2025 (DINOv3), arXiv 2508.10104, sections 4.2 and 4.3.
    """

    def __init__(self, setup: Setup, weight: float, start: float, every: int, size: int | None = None) -> None:
        """Build the network; its weights come with the first `renew`.

        Args:
            setup: Network and recipe.
            weight: Weight of the loss.
            start: Share of the schedule before it begins.
            every: Steps after which the weights are taken anew.
            size: Side in pixels of the global crops that it sees; None: the student's.

        Raises:
            UsageError: The size makes no sense.
        """
        with torch.random.fork_rng(devices=[]):
            super().__init__(Vit(setup.architecture, student=False, masked=False), {})
        self.requires_grad_(False)
        students, patch = setup.views.global_size, max(self.vit.network.patch_embed.patch_size)
        wrong = size is not None and (size < students or size % patch > 0)
        wanted = f"gram_size of at least the student's {students} px, and a multiple of the patch of {patch} px"
        refuse((wrong, wanted, size), where="method")
        self.size = None if size == students else size
        self.grid = self.vit.grid(students)
        self.weight, self.first, self.every = weight, round(start * setup.recipe.schedule_length), every

    def renew(self, teacher: Network, step: int) -> bool:
        """Take the weights of the teacher where that is due; tell whether the loss counts at this step."""
        counts = self.counts(step)
        if counts and (step - self.first) % self.every == 0:
            update_teacher(self.vit, teacher.vit, momentum=0.0)
        return counts

    def counts(self, step: int) -> bool:
        """Whether the loss counts at a step."""
        return step >= self.first

    def loss(self, images: Tensor, patches: Tensor) -> Tensor:
        """Compute the weighted loss of patch tokens.

        Args:
            images: What the Gram teacher sees, (N, 3, size, size).
            patches: The student's patch tokens of the same places, (N, h * w, D).
        """
        with torch.no_grad():
            anchor = resized_tokens(self.vit(images).patches, self.vit.grid(images.shape[-1]), self.grid)
        return self.weight * gram_loss(patches, anchor)
