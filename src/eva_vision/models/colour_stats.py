"""Mean and standard deviation of each channel as a backbone."""

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from eva_core.contracts.backbone import Backbone
from eva_core.extraction.pixels import colour_statistics


class ColourStats(Backbone):
    """Six numbers an image."""

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Pixels in 0-1, (B, 3, H, W) -> (B, 6): means, then standard deviations."""
        return colour_statistics(images)

    @override
    def feature_map(self, images: Tensor, layers: Sequence[int] | None = None, cell: int = 16) -> Tensor:
        """Pixels in 0-1, (B, 3, H, W) -> the same six numbers of each 16 px cell, (B, 6, H / 16, W / 16)."""
        cells = images.unfold(2, cell, cell).unfold(3, cell, cell)  # (B, 3, H / 16, W / 16, 16, 16)
        std, mean = torch.std_mean(cells, dim=(4, 5), correction=0)
        return torch.cat([mean, std], dim=1)
