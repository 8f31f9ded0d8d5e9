"""The colour baseline: a linear model of each pixel, on its RGB and on the smoothed RGB around it."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.features.batches import Batch

NAME = "colour_pixels"
SMOOTH = 9  # side of the square that is averaged, in pixels of the model's input: about a nucleus at 0.25 mpp
_PIXELS = 2**16
_ITERATIONS = 200


class ColourPixels(nn.Module):
    """A decoder that looks at the image alone."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(6, classes, 1)

    @override
    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(colours(images))
        return logits


def colours(images: Tensor) -> Tensor:
    """RGB, and its mean over a square: (B, 3, H, W) -> (B, 6, H, W)."""
    smooth = F.avg_pool2d(images, SMOOTH, stride=1, padding=SMOOTH // 2, count_include_pad=False)
    return torch.cat([images, smooth], dim=1)


def fit_colour(
    batches: Iterable[Batch], tiles: int, classes: int, loss: Callable[[Tensor, Tensor], Tensor], seed: int = 0
) -> ColourPixels:
    """Fit to convergence on at most 65,536 pixels: by cross entropy, then from there by the loss of the protocol.

    Args:
        batches: Batches of all training tiles.
        tiles: Number of tiles.
        classes: Number of classes C.
        loss: Loss of logits (B, C, H, W) against a target (B, H, W).
        seed: Decides which pixels are drawn.
    """
    x, y = _sampled(batches, max(1, _PIXELS // tiles), seed)
    model = ColourPixels(classes)
    mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
    grid = ((x - mean) / std).T[None, :, :, None]  # (1, 6, n, 1): a picture of one column
    weight, bias = model.linear.parameters()
    nn.init.zeros_(weight)
    nn.init.zeros_(bias)
    for objective in (F.cross_entropy, loss):
        _minimise(model.linear, partial(_value, objective, model.linear, grid, y[None, :, None]))
    with torch.no_grad():  # as a model of colours that are not standardised
        weight.div_(std[:, None, None])
        bias.sub_((weight * mean[:, None, None]).sum((1, 2, 3)))
    return model


def _value(objective: Callable[[Tensor, Tensor], Tensor], layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return objective(layer(x), y)


def _sampled(batches: Iterable[Batch], each: int, seed: int) -> tuple[Tensor, Tensor]:
    """Colours (n, 6) and classes (n,) of random pixels that count, at most `each` from a tile."""
    random = np.random.default_rng(seed)
    xs, ys = [], []
    for batch in batches:
        side = batch.masks.shape[-1]
        # a linear layer and bilinear resizing can be exchanged
        maps = F.interpolate(colours(batch.images), (side, side), mode="bilinear").cpu()
        for pixels, mask in zip(maps.flatten(2), batch.masks.flatten(1).cpu(), strict=True):
            counted = np.flatnonzero((mask != IGNORE).numpy())
            chosen = torch.from_numpy(random.permutation(counted)[:each])
            xs.append(pixels[:, chosen].T)
            ys.append(mask[chosen])
    return torch.cat(xs), torch.cat(ys)


def _minimise(layer: nn.Module, objective: Callable[[], Tensor]) -> None:
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = objective()
        value.backward()
        return value

    optimiser.step(closure)
