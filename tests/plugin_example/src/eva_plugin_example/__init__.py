"""What a third party writes: a model, a dataset, and a head for labels and one for masks, found by entry points."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eva_core.classification.metrics import selection_metric
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import DatasetCard, ModelCard, card
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.contracts.head import FittedRun, FittingData, Head
from eva_core.contracts.protocol import Protocol
from eva_vision.segmentation.contracts import SegmentationHead

EDGES = ModelCard("edges", dim=6, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), pooling="mean", licence="MIT")


class Edges(Backbone):
    """Mean strength of horizontal and vertical edges, by channel."""

    def __init__(self, power: float) -> None:
        super().__init__(EDGES)
        self.power = power

    def feature_map(self, images: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, 6, H - 1, W - 1)."""
        down = images.diff(dim=2)[..., :-1].abs()
        right = images.diff(dim=3)[..., :-1, :].abs()
        return torch.cat([down, right], 1).pow(self.power)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 6)."""
        return self.feature_map(images).mean((2, 3))


@card(EDGES)
def edges(power: float = 1.0) -> Backbone:
    """Edge strengths."""
    return Edges(power)


class Stripes(Dataset):
    """Synthetic stripes, lying or standing."""

    card = DatasetCard("stripes", classes=("lying", "standing"), synthetic=True, licence="MIT")

    def __init__(self, n: int = 40) -> None:
        self.samples = [Sample(f"{i}", ("train", "train", "val", "test")[i // 2 % 4], i % 2) for i in range(n)]

    def image(self, sample: Sample) -> np.ndarray:
        """uint8 (32, 32, 3)."""
        rng = np.random.default_rng(int(sample.id))
        image = np.where(np.arange(32)[:, None, None] % 8 < 4, 220, 120) + rng.normal(0, 40, (32, 32, 3))
        return np.clip(image if sample.target == 0 else image.transpose(1, 0, 2), 0, 255).astype(np.uint8)


class NearestMean(Head):
    """The class whose mean embedding is nearest."""

    def runs(self, protocol: Protocol) -> range:
        """One: nothing is random."""
        return range(1)

    def fit(self, data: FittingData, protocol: Protocol) -> list[FittedRun]:
        """One run: there is nothing to draw."""
        train, select = data.train, data.select
        params = {"means": torch.stack([train.x[train.y == c].mean(0) for c in range(data.classes)])}
        value = float(selection_metric(data.metric)(self.logits(params, select.x)[None], select.y)[0])
        data.progress(1, 1)
        return [FittedRun(0, params, params, value, {})]

    def logits(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        """(N, D) -> (N, C)."""
        distances = torch.cdist(F.normalize(x), F.normalize(params["means"]))
        return -distances.nan_to_num(torch.inf)  # a class without images has no mean


class SmoothSeg(SegmentationHead):
    """One linear layer on features that are averaged with their neighbours.

    Args:
        width: Side of the square that is averaged, in positions of the feature map.
    """

    def __init__(self, width: int = 3) -> None:
        self.width = width

    def decoder(self, channels: int, classes: int) -> nn.Module:
        """(B, channels, h, w) -> (B, classes, h, w)."""
        return Smooth(channels, classes, self.width)


class Smooth(nn.Module):
    """The network behind `SmoothSeg`."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.mean, self.linear = nn.AvgPool2d(width, 1, width // 2), nn.Conv2d(channels, classes, 1)

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        """The image is there for those who want it."""
        return self.linear(self.mean(features))
