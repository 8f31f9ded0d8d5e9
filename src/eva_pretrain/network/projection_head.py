"""Projection head: from embeddings to logits over prototypes; not needed after pretraining."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eva_core.errors import refuse


class Head(nn.Module):
    """Projection head: MLP with GELU, L2 normalisation, and the cosine to each prototype, times its gain.

    Parameters: `mlp.0.weight`, `mlp.0.bias`, `mlp.2.weight`, ..., `last_layer.direction`, and `last_layer.gain` where
    it is trained.
    Source: Caron et al. 2021 (DINO), appendix C; facebookresearch/dino @ 7c446df5 and dinov2 @ b8931f7 (the gain).
    """

    def __init__(
        self,
        dim: int,
        prototypes: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        layers: int = 3,
        *,
        gain: bool,
    ) -> None:
        """Initialise as DINO does: weights of the MLP normal with std 0.02, biases 0.

        Args:
            dim: Width of the embeddings, D.
            prototypes: Number of prototypes, K.
            hidden: Width between the layers of the MLP.
            bottleneck: Width before the prototypes.
            layers: Number of layers of the MLP, at least 1.
            gain: Train the length of each prototype (DINOv2); else it is 1 (DINO).

        Raises:
            UsageError: A width is below 1.
        """
        widths = (prototypes, hidden, bottleneck)
        refuse(
            (min(widths) < 1, "prototypes, hidden and bottleneck of at least 1", widths),
            (prototypes == 1, "prototypes of at least 2, as one of one tells nothing", prototypes),
            where="method",
        )
        super().__init__()
        modules: list[nn.Module] = []
        for inputs, outputs in pairwise([dim, *[hidden] * (layers - 1), bottleneck]):
            modules += [nn.Linear(inputs, outputs), nn.GELU()]
        self.mlp = nn.Sequential(*modules[:-1])
        for module in self.mlp:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.last_layer = Prototypes(bottleneck, prototypes, gain)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (..., K) of embeddings (..., dim)."""
        x = self.mlp(x)
        # in float32 whatever the precision: 1e-12 is 0 in float16, and bf16 rounds lengths to 0.4 %
        x = F.normalize(x.float(), dim=-1, eps=1e-12).to(x.dtype)
        logits: Tensor = self.last_layer(x)
        return logits


class Prototypes(nn.Module):
    """Linear layer without bias whose weights are gain * direction / |direction| (weight normalisation)."""

    gain: nn.Parameter | None

    def __init__(self, dim: int, prototypes: int, gain: bool) -> None:
        """Initialise directions as `nn.Linear` does weights; their length decides how fast AdamW turns them."""
        super().__init__()
        self.direction = nn.Parameter(torch.empty(prototypes, dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.register_parameter("gain", nn.Parameter(torch.ones(prototypes, 1)) if gain else None)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (..., K) of normalised x (..., dim)."""
        gain = self.direction.new_ones(len(self.direction), 1) if self.gain is None else self.gain
        # torch's own fused kernel: the gradient through F.normalize takes four times as long at 65,536 prototypes
        return F.linear(x, torch._weight_norm(self.direction, gain, 0))  # noqa: SLF001
