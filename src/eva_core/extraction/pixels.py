"""What happens to pixels before the weights see them, and what is kept of them besides."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import Geometry, ModelCard
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.identity import qualified_name
from eva_core.registry import import_object

Transform = Callable[[Geometry], Callable[[np.ndarray], Tensor]]
"""Makes of a geometry what turns a uint8 (H, W, 3) image into uint8 (3, S, S)."""
SIGNATURE = 32
"""Side of the thumbnail by which near-duplicates are found, in pixels."""


def preprocessing(protocol: Protocol, card: ModelCard) -> dict[str, Any]:
    """All that happens to pixels before the weights see them, and to tokens after."""
    return {
        "transform": qualified_name(transform_of(protocol)),
        "geometry": asdict(protocol.geometry_for(card)),
        "mean": list(card.mean),
        "std": list(card.std),
        "pooling": protocol.pooling_for(card),
        "precision": protocol.precision_for(card),
    }


def refuse_partial_patches(side: int, backbone: Backbone) -> None:
    """Refuse a side that is no multiple of the patch: it would fail in the first batch."""
    patch = backbone.card.patch_size or 1
    if side % patch:
        raise UsageError(f"Expected protocol.geometry.crop as a multiple of the patch, {patch}, but got {side}.")


def normalised(pixels: Tensor, backbone: Backbone) -> Tensor:
    """Pixels in 0-1, (B, 3, H, W), by the mean and standard deviation of the card, in place."""
    mean, std = (torch.tensor(v, device=pixels.device).view(-1, 1, 1) for v in (backbone.card.mean, backbone.card.std))
    return pixels.sub_(mean).div_(std)


def colour_statistics(pixels: Tensor) -> Tensor:
    """Mean, then standard deviation, of each channel: pixels in 0-1, (B, 3, H, W) -> (B, 6).

    Examples:
        >>> colour_statistics(torch.full((1, 3, 4, 4), 0.5)).tolist()
        [[0.5, 0.5, 0.5, 0.0, 0.0, 0.0]]
    """
    std, mean = torch.std_mean(pixels, dim=(2, 3), correction=0)
    return torch.cat([mean, std], dim=1)


def signature(image: np.ndarray) -> np.ndarray:
    """A thumbnail by which near-duplicates are found, whatever the model: uint8 (H, W, 3) -> grey float16 (1024,)."""
    stride = max(1, min(image.shape[:2]) // 256)
    grey = torch.from_numpy(image[::stride, ::stride].astype(np.float32)).mean(-1)
    return F.adaptive_avg_pool2d(grey[None], SIGNATURE).reshape(-1).half().numpy()


def transform_of(protocol: Protocol) -> Transform:
    """The function that the protocol names."""
    try:
        transform: Transform = import_object(protocol.transform)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"Expected protocol.transform as module.function, but got {protocol.transform!r}.") from error
    return transform
