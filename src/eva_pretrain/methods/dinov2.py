"""DINOv2: DINO on class tokens, iBOT on hidden patches, and a term that spreads embeddings.

Source: Oquab et al. 2023, arXiv 2304.07193; the KDE term as in Midnight, arXiv 2504.05186; Gram anchoring as in DINOv3,
arXiv 2508.10104.
"""

import random
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from eva_core.errors import refuse
from eva_pretrain.augment.views import Crops
from eva_pretrain.losses.dino import dinov2_loss
from eva_pretrain.losses.ibot import ibot_loss
from eva_pretrain.losses.kde import kde
from eva_pretrain.losses.koleo import koleo
from eva_pretrain.losses.targets import Targets
from eva_pretrain.losses.teacher_targets import Centring, sinkhorn, sinkhorn_targets
from eva_pretrain.methods.base import Method, Network, Setup
from eva_pretrain.methods.gram_teacher import GramTeacher
from eva_pretrain.methods.masking import masks
from eva_pretrain.network.projection_head import Head

MOST_WEIGHT = 100
"""Greatest weight of a term of the loss: beyond it the others count for nothing. Papers have at most 2."""
MOST_KAPPA = 1000
"""Greatest concentration of the KDE, at which an angle of 3 degrees is already far. Papers have 5."""


class DinoV2(Method):
    """DINOv2: class tokens as in DINO, and the student predicts the teacher's tokens of patches hidden from it.

    Attributes:
        gram_teacher: Earlier teacher whose patch tokens anchor the student's; None without Gram anchoring.
    """

    def __init__(
        self,
        setup: Setup,
        prototypes: int = 131_072,
        hidden: int = 2048,
        bottleneck: int = 384,
        ibot_head: bool = True,
        targets: Literal["sinkhorn", "centring"] = "sinkhorn",
        student_temperature: float = 0.1,
        centre_momentum: float = 0.9,
        ibot: float = 1.0,
        spread: Literal["koleo", "kde"] = "koleo",
        spread_weight: float = 0.1,
        kde_kappa: float = 5.0,
        mask_share: float = 0.5,
        mask_ratio: tuple[float, float] = (0.1, 0.5),
        gram: float = 0.0,
        gram_start: float = 0.5,
        gram_every: int = 10_000,
        gram_size: int | None = None,
    ) -> None:
        """Build student, teacher and their heads.

        Args:
            setup: Network, views and recipe.
            prototypes: Number of prototypes, the outputs of each projection head.
            hidden: Width of the layers of each projection head.
            bottleneck: Width before the prototypes.
            ibot_head: Give patch tokens a projection head of their own.
            targets: Method that turns the teacher's outputs into probabilities; Sinkhorn-Knopp takes 3 iterations.
            student_temperature: Temperature of the student's softmax.
            centre_momentum: Momentum of the running mean that centring subtracts.
            ibot: Weight of the loss of hidden patches.
            spread: Term that keeps embeddings apart: `koleo` (DINOv2, weight 0.1) or `kde` (pathology, weight 0.05).
            spread_weight: Weight of that term, on each of the two global crops.
            kde_kappa: Concentration of the KDE.
            mask_share: Share of the global crops that have hidden patches.
            mask_ratio: Least and greatest share of hidden patches in these crops.
            gram: Weight of Gram anchoring, which keeps patch tokens local in long runs; DINOv3: 2.
            gram_start: Share of the schedule before it begins, with the teacher of that step.
            gram_every: Steps after which the Gram teacher is the teacher of that step again.
            gram_size: Side in pixels of the Gram teacher's global crops, such as twice `views.global_size`: the same
                boxes and colours without blur; tokens are resized to the student's grid. None: the student's crops.

        Raises:
            UsageError: A number makes no sense.
        """
        weights, anchoring = (ibot, spread_weight, gram), (gram_start, gram_every, gram_size)
        _check(student_temperature, weights, kde_kappa, mask_share, mask_ratio, anchoring)
        names = ("dino", "ibot") if ibot_head else ("dino",)
        head = partial(Head, prototypes=prototypes, hidden=hidden, bottleneck=bottleneck, gain=True)
        super().__init__(setup, lambda dim: {name: head(dim) for name in names}, masked=True)
        self.centring, self.patch_centring = (Centring(prototypes, centre_momentum) for _ in range(2))
        self.targets, self.student_temperature = targets, student_temperature
        self.ibot, self.spread, self.spread_weight, self.kappa = ibot, spread, spread_weight, kde_kappa
        self.mask_share, self.mask_ratio = mask_share, mask_ratio
        self.masked_share = mask_share * sum(mask_ratio) / 2
        self.gram_teacher = GramTeacher(setup, gram, gram_start, gram_every, gram_size) if gram else None

    @property
    @override
    def networks(self) -> list[Network]:
        return [*super().networks, *([] if self.gram_teacher is None else [self.gram_teacher])]

    @property
    @override
    def teachers(self) -> tuple[int, ...]:
        side, gram = self.setup_.views.global_size, self.gram_teacher
        if gram is None or not gram.counts(self.global_step - 1):
            return (side,)
        return side, gram.size or side

    @property
    @override
    def large_size(self) -> int | None:
        gram = self.gram_teacher
        return gram.size if gram is not None and gram.counts(self.global_step) else None

    @override
    def losses(self, crops: Crops, temperature: float) -> dict[str, Tensor]:
        grid = self.student.vit.grid(crops.global_.shape[-1])
        masked = masks(
            len(crops.global_), grid, self.mask_share, self.mask_ratio, rng=random.Random(torch.initial_seed())
        )
        anchored = self.gram_teacher is not None and self.gram_teacher.renew(self.teacher, self.global_step)
        return self.losses_with(crops, masked, temperature, anchored)

    def losses_with(
        self, crops: Crops, masked: Tensor, temperature: float, anchored: bool = False
    ) -> dict[str, Tensor]:
        """Compute the weighted terms of the loss with given masks.

        Args:
            crops: Crops of B patches, as `make_crops` gives them.
            masked: True where a patch is hidden from the student, (2 B, patches) on the CPU.
            temperature: Temperature of the teacher.
            anchored: Add the term of Gram anchoring.
        """
        batch, device = len(crops.global_) // 2, crops.global_.device
        rows, weights = (part.to(device, non_blocking=True) for part in hidden_rows(masked))

        with torch.no_grad():
            tokens = self.teacher.vit(crops.global_)
            cls, patches = self._through_heads(self.teacher.heads, tokens.cls, tokens.patches.flatten(0, 1)[rows])
            cls_targets = self._targets(self.centring, cls, temperature)
            patch_targets = self._targets(self.patch_centring, patches, temperature)

        tokens, local = self.student_tokens(crops, masked.to(device, non_blocking=True))
        cls_logits, patch_logits = self._through_heads(
            self.student.heads, torch.cat([tokens.cls, local]), tokens.patches.flatten(0, 1)[rows]
        )
        global_logits, local_logits = (
            torch.unflatten(part, 0, (len(part) // batch, batch))
            for part in torch.split(cls_logits, [2 * batch, len(local)])
        )  # (2, B, K), (L, B, K)
        self.teacher_probabilities = cls_targets
        with torch.autocast(device.type, enabled=False):
            global_term, local_term = dinov2_loss(
                global_logits, local_logits, cls_targets.unflatten(0, (2, batch)), self.student_temperature
            )
            patch_term = ibot_loss(patch_logits, patch_targets, weights, len(masked), self.student_temperature)
            spread = (self._spread_term(crop) for crop in tokens.cls.chunk(2))
            terms = {
                "dino_global": global_term,
                "dino_local": local_term,
                "ibot": self.ibot * patch_term,
                self.spread: self.spread_weight * sum(spread, start=torch.zeros((), device=device)),
            }
        if anchored and self.gram_teacher is not None:
            seen = crops.global_ if crops.large is None else crops.large
            terms["gram"] = self.gram_teacher.loss(seen, tokens.patches)
        return terms

    def _through_heads(self, heads: torch.nn.ModuleDict, cls: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        if "ibot" in heads:
            return heads["dino"](cls), heads["ibot"](patches)
        both = heads["dino"](torch.cat([cls, patches]))  # one product is faster than two
        # split, as the gradient of slices would be padded and added
        cls_logits, patch_logits = both.split([len(cls), len(patches)])
        return cls_logits, patch_logits

    def _targets(self, centring: Centring, logits: Tensor, temperature: float) -> Tensor | Targets:
        if self.targets == "sinkhorn":
            return (sinkhorn_targets if self.compiled else sinkhorn)(logits, temperature)
        targets: Tensor | Targets = (centring.targets if self.compiled else centring)(logits, temperature)
        centring.update(logits)
        return targets

    def _spread_term(self, x: Tensor) -> Tensor:
        return koleo(x.float()) if self.spread == "koleo" else kde(x.float(), self.kappa)


def _check(
    student_temperature: float,
    weights: tuple[float, ...],
    kde_kappa: float,
    mask_share: float,
    mask_ratio: tuple[float, float],
    anchoring: tuple[float, int, int | None],
) -> None:
    start, every, size = anchoring
    refuse(
        (not 0 < student_temperature <= 1, "student_temperature above 0 and at most 1", student_temperature),
        (not all(0 <= w <= MOST_WEIGHT for w in weights), f"weights of losses from 0 to {MOST_WEIGHT}", weights),
        (not 0 < kde_kappa <= MOST_KAPPA, f"kde_kappa above 0 and at most {MOST_KAPPA}", kde_kappa),
        (not 0 <= mask_share <= 1, "mask_share from 0 to 1", mask_share),
        (not 0 <= mask_ratio[0] <= mask_ratio[1] <= 1, "mask_ratio within 0 to 1, the lesser first", mask_ratio),
        (mask_ratio[1] == 1 and mask_share > 0, "mask_ratio below 1, as all of a crop would be hidden", mask_ratio),
        (not 0 <= start < 1, "gram_start of at least 0 and below 1, where it would never begin", start),
        (every < 1, "gram_every of at least 1", every),
        (size is not None and not weights[-1], "gram above 0 where gram_size is given", weights[-1]),
        where="method",
    )


def hidden_rows(masked: Tensor) -> tuple[Tensor, Tensor]:
    """Number each hidden patch, and weigh it by one over the hidden patches of its crop.

    Args:
        masked: True where hidden, bool (crops, patches) on the CPU, so that nothing waits for a GPU.

    Returns:
        Numbers of the hidden patches among all, int64 (M,), and their weights, float32 (M,).

    Examples:
        >>> numbers, weights = hidden_rows(torch.tensor([[True, False, True], [False, True, False]]))
        >>> numbers.tolist(), weights.tolist()
        ([0, 2, 4], [0.5, 0.5, 1.0])
    """
    weights = (1 / masked.sum(1, keepdim=True).clamp(min=1)).expand_as(masked)[masked]
    return masked.flatten().nonzero().flatten(), weights
