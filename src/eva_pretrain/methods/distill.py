"""Distillation of a frozen model: the student predicts its embeddings and its feature maps, through the same loop."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from eva_core.contracts.backbone import Backbone
from eva_core.errors import EvaError, refuse
from eva_pretrain.augment.views import Crops
from eva_pretrain.losses.feature_distance import feature_distance
from eva_pretrain.losses.teacher_targets import Centring
from eva_pretrain.methods.base import Method, Setup
from eva_pretrain.network.named_models import named_backbone, terms_of


class Distill(Method):
    """Distillation of any model that has a name into a ViT.

    The frozen model sees the global crops. The student's class token of each predicts the embedding, that of each local
    crop the mean of the two, and patch tokens the feature map. The teacher is the moving average of the student, as in
    the other methods: it is what is measured and exported. The frozen model is in no checkpoint: it comes by its name.
    """

    def __init__(
        self,
        setup: Setup,
        backbone: str = "",
        backbone_args: dict[str, Any] | None = None,
        size: int | None = None,
        hidden: int = 2048,
        patches: float = 1.0,
        centre_momentum: float = 0.9,
    ) -> None:
        """Build student, teacher and their heads, and the frozen model with its weights.

        Args:
            setup: Network, views and recipe.
            backbone: The frozen model: a name of `eva models`, of a pretrained network of timm, `hf-hub:owner/name`, or
                the path of an export, a run, or a checkpoint of one.
            backbone_args: Its arguments, such as `arch` of `timm_model`.
            size: Side of the images that the frozen model sees, in pixels; that of its card unless given.
            hidden: Width of the hidden layer of the heads that predict its features.
            patches: Weight of the loss of patch tokens; 0: off, for a model without feature maps.
            centre_momentum: Momentum of the running means that are subtracted from its features, which are alike
                for all tissue.

        Raises:
            UsageError: Nothing has this name, or a number makes no sense.
            EvaError: The weights of the model cannot be had, or its features are not finite.
        """
        refuse(
            (not backbone, "backbone, such as uni", "none"),
            (patches < 0, "patches of at least 0", patches),
            (hidden < 1, "hidden of at least 1", hidden),
            (size is not None and size < 1, "size of at least 1", size),
            where="method",
        )
        frozen = named_backbone(backbone, **(backbone_args or {})).eval().requires_grad_(False).float()
        side, patch = size or frozen.card.geometry.crop, frozen.card.patch_size or 1
        wrong = size is not None and size % patch > 0
        refuse((wrong, f"size to be a multiple of the patch of {patch} px of {backbone}", size), where="method")
        widths = _widths(frozen, backbone, side, with_map=patches > 0)
        super().__init__(
            setup, lambda dim: {name: _regressor(dim, hidden, width) for name, width in widths.items()}, masked=False
        )
        self.centrings = nn.ModuleDict({name: Centring(width, centre_momentum) for name, width in widths.items()})
        self.backbone, self.size, self.patches = backbone, side, patches
        self._frozen = (frozen,)  # in a tuple it is no part of the state

    @property
    def frozen(self) -> Backbone:
        """The model that is distilled."""
        return self._frozen[0]

    @property
    @override
    def teachers(self) -> None:
        return None

    @override
    def on_fit_start(self) -> None:
        """Say whose model it is, and bring it to the device."""
        super().on_fit_start()
        if self.global_rank == 0:
            self.print(f"Distilling {terms_of(self.backbone, self.frozen)}")
        self.frozen.to(self.device)

    @override
    def losses(self, crops: Crops, temperature: float) -> dict[str, Tensor]:
        tokens, local = self.student_tokens(crops)
        heads, grid = self.student.heads, self.student.vit.grid(crops.global_.shape[-1])
        with torch.no_grad():
            images = self._as_the_backbone_sees(crops.global_)
            if self.patches:
                embeddings, maps = self.frozen.embed_with_map(images)
            else:
                embeddings = self.frozen(images)
            embeddings = self._centred("dino", embeddings)
            both = embeddings.unflatten(0, (2, -1)).mean(0)
        cls = heads["dino"](torch.cat([tokens.cls, local]))
        terms = {"embedding": feature_distance(cls[: len(embeddings)], embeddings)}
        if len(local):
            predicted = cls[len(embeddings) :].unflatten(0, (-1, len(both)))
            terms["local"] = feature_distance(predicted, both.expand_as(predicted))
        if self.patches:
            with torch.no_grad():
                maps = F.interpolate(maps.float(), grid, mode="bilinear", antialias=True)
                targets = self._centred("ibot", maps.flatten(2).mT.flatten(0, 1))
            terms["patches"] = self.patches * feature_distance(heads["ibot"](tokens.patches).flatten(0, 1), targets)
        return terms

    def _centred(self, name: str, features: Tensor) -> Tensor:
        """Subtract the running mean from features (N, D), and move it."""
        centring = self.centrings[name]
        assert isinstance(centring, Centring)
        centred = features.float() - centring.centre
        centring.update(features)
        return centred

    def _as_the_backbone_sees(self, images: Tensor) -> Tensor:
        """Give normalised images the normalisation and the size of the frozen model."""
        views, card = self.setup_.views, self.frozen.card
        mean, std, its_mean, its_std = (
            torch.tensor(v, device=images.device).view(3, 1, 1) for v in (views.mean, views.std, card.mean, card.std)
        )
        pixels = images * std + mean
        if images.shape[-1] != self.size:
            pixels = F.interpolate(pixels, (self.size, self.size), mode="bilinear", antialias=True)
        return (pixels - its_mean) / its_std


def _regressor(dim: int, hidden: int, width: int) -> nn.Module:
    """MLP of one hidden layer, from tokens of the student to features of the frozen model."""
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, width))


def _widths(frozen: Backbone, name: str, side: int, with_map: bool) -> dict[str, int]:
    """Widths of the embedding (`dino`) and of the feature map (`ibot`) of a model, which an image of noise tells.

    Raises:
        EvaError: They are not finite.
    """
    noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = frozen.embed_with_map(noise) if with_map else (frozen(noise),)
    if not all(each.is_meta or each.isfinite().all() for each in features):  # of meta, sizes alone are known
        raise EvaError(f"Expected finite features of {name}, but it gives NaN or infinity. Check its weights.")
    return {head: each.shape[1] for head, each in zip(("dino", "ibot"), features, strict=False)}
