"""A network of one channel that sees red, green and blue one by one."""

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from eva_vision.models.timm_backbone import TimmBackbone


class ChannelwiseBackbone(TimmBackbone):
    """A timm network for grey images: what it gives for red, green and blue stands one behind the other."""

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> (B, 3 D), or (B, 6 D) for `cls_mean`."""
        return _joined(super().forward(_as_grey(images)))

    @override
    def feature_map(self, images: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        """Normalised images (B, 3, H, W) -> (B, 3 D' * len(layers), h, w), all layers of a channel together."""
        return _joined(super().feature_map(_as_grey(images), layers))

    @override
    def embed_with_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> (B, 3 D) and (B, 3 D', h, w), as `forward` and `feature_map`."""
        embeddings, maps = super().embed_with_map(_as_grey(images))
        return _joined(embeddings), _joined(maps)


def _as_grey(images: Tensor) -> Tensor:
    """Each channel as an image: (B, 3, H, W) -> (3 B, 1, H, W)."""
    return images.flatten(0, 1).unsqueeze(1)


def _joined(features: Tensor) -> Tensor:
    """What was made of the channels, one behind the other: (3 B, D, ...) -> (B, 3 D, ...)."""
    joined: Tensor = features.unflatten(0, (-1, 3)).flatten(1, 2)
    return joined
