"""Decoders from feature maps to the classes of pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from eva_vision.segmentation.contracts import SegmentationHead


class LinearSeg(SegmentationHead):
    """One linear layer on every position of the feature map."""

    @override
    def decoder(self, channels: int, classes: int) -> nn.Module:
        return _FromFeatures(nn.Conv2d(channels, classes, 1))


class ConvSeg(SegmentationHead):
    """Two convolutions, each after upsampling by 2, without the image: the decoder of kaiko-eva's offline configs."""

    @override
    def decoder(self, channels: int, classes: int) -> nn.Module:
        return _FromFeatures(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(channels, 64, 3, padding=1),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(64, classes, 3, padding=1),
        )


class ConvSegImage(SegmentationHead):
    """Feature map and image together: the decoder behind the published kaiko-eva board."""

    @override
    def decoder(self, channels: int, classes: int) -> nn.Module:
        return _WithImage(channels, classes)


class _FromFeatures(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    @override
    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(features)
        return logits


class _WithImage(nn.Module):
    """Features are brought to 64 channels and to the size of the image before the image joins them."""

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Upsample(scale_factor=2), *_conv(channels, width))
        self.refine = nn.Sequential(*_conv(width + 3, 32), *_conv(32, 32), nn.Conv2d(32, classes, 1))

    @override
    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        reduced = F.interpolate(self.reduce(features), images.shape[-2:], mode="bilinear")
        logits: Tensor = self.refine(torch.cat([reduced, images], dim=1))
        return logits


def _conv(channels: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
