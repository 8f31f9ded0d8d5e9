"""What a model promises: embeddings and feature maps of images."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eva_core.contracts.cards import ModelCard, Pooling


class Backbone(nn.Module, ABC):
    """A frozen model that turns images into embeddings.

    Attributes:
        card: Its card.
        name: The name under which results are reported: as asked for, else the card's.
        pooling: How tokens become one vector; set by the protocol, read by `forward` where the model has a choice.
        arguments: What changes the output but not the weights (architecture arguments); part of the cache key.
        provenance: Where the weights came from, for the record: source, revision, sha256 of the file.
    """

    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        self.card = card
        self.name = card.name
        self.pooling: Pooling = card.pooling
        self.arguments: dict[str, Any] = {}
        self.provenance: dict[str, str] = {}

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Normalised float images (B, 3, H, W) -> embeddings (B, D)."""

    @abstractmethod
    def feature_map(self, images: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        """Normalised float images (B, 3, H, W) -> dense features (B, D', h, w), prefix tokens left out.

        Args:
            images: (B, 3, H, W).
            layers: Numbers of blocks (ViT) or of stages (CNN), stacked along D'; None means the last.
        """

    def embed_with_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised float images (B, 3, H, W) -> embeddings (B, D) and dense features (B, D', h, w) of the last layer.

        A class that has both from one pass says it anew; these are two.
        """
        return self(images), self.feature_map(images)


def sha256_of_weights(module: nn.Module) -> str:
    """SHA-256 over the state dict: sorted names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    state: Iterable[tuple[str, Tensor]] = sorted(module.state_dict().items())
    for name, tensor in state:
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
