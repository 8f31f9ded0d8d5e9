"""Picture of the patch tokens of a network, coloured by their principal components."""

import numpy as np
import torch
from torch import Tensor

_PERCENTILES = (0.01, 0.99)
_GREY = 0.5


def pca_picture(images: Tensor, maps: Tensor) -> np.ndarray:
    """Draw patches in a row, and below each its tokens: the first three principal components as red, green and blue.

    The components are computed from all these tokens. Each is scaled from its 1st to its 99th percentile, and its sign
    makes its largest loading positive: colours are comparable within a picture, less so between steps.

    Args:
        images: Patches, uint8 (n, 3, S, S).
        maps: Feature maps of the patches, (n, D, h, w), any scale. Grey where all tokens are alike, or one is not
            finite.
    Returns:
        Pixels, uint8 RGB (2 S, n S, 3).
    """
    n, _, side, _ = images.shape
    _, d, h, w = maps.shape
    tokens = maps.detach().cpu().double().permute(0, 2, 3, 1).reshape(-1, d)
    colours = _components(tokens).reshape(n, h, w, 3).permute(0, 3, 1, 2)
    scaled = torch.nn.functional.interpolate(colours, (side, side), mode="nearest")
    below = (scaled * 255).round().to(torch.uint8)
    rows = [torch.cat(list(part), dim=2) for part in (images.cpu(), below)]  # (3, S, n S) each
    return torch.cat(rows, dim=1).permute(1, 2, 0).numpy()


def _components(tokens: Tensor) -> Tensor:
    """Project tokens (T, D) on their first three components, scaled to 0-1, (T, 3)."""
    grey = tokens.new_full((len(tokens), 3), _GREY)
    if not tokens.isfinite().all():
        return grey
    centred = tokens - tokens.mean(0)
    vectors = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :3]  # (D, 3), the largest first
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))  # (1, 3)
    projected = centred @ (vectors * largest.sign())
    low, high = torch.tensor(np.quantile(projected.numpy(), _PERCENTILES, axis=0))
    varying = high - low > 1e-6 * tokens.abs().max()
    grey[:, : projected.shape[1]] = torch.where(varying, ((projected - low) / (high - low)).clamp(0, 1), _GREY)
    return grey
