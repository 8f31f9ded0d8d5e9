"""Random resized crops with flips, of a whole batch at once.

A crop is out = Wy @ X @ Wx^T, where a row of Wy has the few antialiased bicubic weights of one output row. The products
are taken over the weights that are not 0, as weighted sums of rows: a tenth of the time of the dense products on a CPU.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_TRIES = 10  # as torchvision, before it takes the centre
_REACH = 2.0  # half width of the cubic kernel, in pixels of the output where that is coarser, else of the input
_PADDING = 4


class Taps(NamedTuple):
    """Weights of one axis that are not 0: out[i] = sum over t of weight[i, t] * in[pixel[i, t]].

    Attributes:
        pixel: Pixel of the patch, int64 (N, size, T); inside the box, also where the weight is 0.
        weight: Weight of that pixel, (N, size, T), with a sum of 1 over T.
    """

    pixel: Tensor
    weight: Tensor


def draw_boxes(
    n: int,
    side: int,
    area: float,
    scale: tuple[float, float],
    aspect: tuple[float, float],
    generator: torch.Generator | None,
    device: torch.device,
) -> Tensor:
    """Draw boxes in a square patch: area uniform, aspect log-uniform, corner uniform, all in whole pixels.

    Ten tries are drawn and the first that fits is taken; where none does, the largest box in the centre whose aspect is
    allowed. Two draws: sizes (2, n, 10), corners (2, n).

    Args:
        n: Number of boxes.
        side: Side of the patch in pixels.
        area: Area that the scale is relative to, in square pixels.
        scale: Least and greatest share of the area.
        aspect: Least and greatest width / height.
        generator: Generator on the device; None is the default one.
        device: Device of the boxes.
    Returns:
        x, y, width and height in pixels, int64 (4, n).
    Source: torchvision's RandomResizedCrop; Szegedy et al. 2015, section 6.
    """
    u = torch.rand((2, n, _TRIES), generator=generator, device=device)
    areas = area * (scale[0] + u[0] * (scale[1] - scale[0]))
    ratios = torch.exp(math.log(aspect[0]) + u[1] * math.log(aspect[1] / aspect[0]))
    tries = torch.stack([areas * ratios, areas / ratios]).sqrt().round()  # (2, n, 10): width, height
    fits = ((tries >= 1) & (tries <= side)).all(0)  # (n, 10)
    first = fits.byte().argmax(1, keepdim=True)
    sizes = tries.gather(2, first.expand(2, -1, -1)).squeeze(2)
    ratio = min(max(1.0, aspect[0]), aspect[1])
    width, height = (max(1, round(length)) for length in (side * min(1.0, ratio), side / max(1.0, ratio)))
    fitted = fits.any(1)
    sizes = torch.stack([torch.where(fitted, sizes[0], width), torch.where(fitted, sizes[1], height)])
    u = torch.rand((2, n), generator=generator, device=device)
    corners = torch.where(fitted, (u * (side - sizes + 1)).floor(), ((side - sizes) / 2).floor())
    return torch.cat([torch.minimum(corners, side - sizes), sizes]).long()


def other_magnification(
    boxes: Tensor, unit: float, mpp: tuple[float, float], side: int, generator: torch.Generator | None
) -> Tensor:
    """Draw boxes about the centres of others, of another magnification when both are resized. One draw (n,).

    Args:
        boxes: x, y, width and height of crops, int64 (4, n).
        unit: Side of the new crops over that of these ones, once both are resized.
        mpp: Least and greatest micrometres per pixel as a share of those of the given crops, log-uniform.
        side: Side of the patch in pixels; boxes are at most as large, in their aspect, and moved until they lie inside.
        generator: Generator on the device; None is the default one.
    Returns:
        Boxes int64 (4, n).
    """
    u = torch.rand(boxes.shape[1], generator=generator, device=boxes.device)
    factor = unit * torch.exp(math.log(mpp[0]) + u * math.log(mpp[1] / mpp[0]))
    factor = torch.minimum(factor, side / boxes[2:].amax(0))
    sizes = (boxes[2:] * factor).round().clamp(1, side)
    corners = (boxes[:2] + boxes[2:] / 2 - sizes / 2).round().clamp(min=0)
    return torch.cat([torch.minimum(corners, side - sizes), sizes]).long()


def longest(side: int, area: float, scale: tuple[float, float], aspect: tuple[float, float]) -> int:
    """Bound the side of a box in pixels, and with it the weights that a pixel needs, without waiting for the device.

    Args:
        side: Side of the patch in pixels.
        area: Area that the scale is relative to, in square pixels.
        scale: Least and greatest share of the area.
        aspect: Least and greatest width / height.

    Examples:
        >>> longest(256, 224.0**2, (0.9, 1.1), (1.0, 1.0))
        235
    """
    return min(side, math.ceil(math.sqrt(area * scale[1] * max(aspect[1], 1 / aspect[0]))))


def taps(start: Tensor, length: Tensor, flip: Tensor, size: int, longest: int) -> Taps:
    """Compute antialiased bicubic weights of one axis of many boxes; pixels outside of a box have no weight.

    Args:
        start: First pixel of each box, int64 (N,).
        length: Length of each box in pixels, int64 (N,), at most `longest`.
        flip: Whether the axis is reversed, bool (N,).
        size: Length of the output in pixels.
        longest: Bound of the lengths of boxes, in pixels.
    Source: Keys 1981 with a = -0.5, stretched where the box is shrunk, as Pillow's BICUBIC does.
    """
    many = 2 * math.ceil(_REACH * max(longest / size, 1)) + 1
    scale = (length / size)[:, None]
    stretch = scale.clamp(min=1)
    place = torch.arange(size, device=start.device)
    centre = (torch.where(flip[:, None], size - 1 - place, place) + 0.5) * scale  # (N, size), pixels of the box
    first = (centre - _REACH * stretch + 0.5).floor().clamp_(min=0)
    pixel = first[..., None] + torch.arange(many, device=start.device)  # (N, size, T)
    last = length[:, None, None] - 1
    weight = _cubic((pixel + 0.5 - centre[..., None]).div_(stretch[..., None]).abs_()) * (pixel <= last)
    weight /= weight.sum(2, keepdim=True)
    return Taps(start[:, None, None] + torch.minimum(pixel.long(), last), weight)


def _cubic(distance: Tensor) -> Tensor:
    """Cubic kernel of Keys at distances of at least 0."""
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


def columns(pixels: Tensor) -> Tensor:
    """Transpose patches for `resample`: uint8 (B, 3, S, S) -> float32 in 0-1 (B, 3, S, S + 4), x before y.

    The last four values of a row are padding and never used: rows a power of two apart share few places in a CPU's
    cache, and transposing them takes three times as long.
    """
    b, _, side, _ = pixels.shape
    turned = torch.zeros((b, 3, side, side + _PADDING), device=pixels.device)
    turned[..., :side] = pixels.transpose(2, 3)
    return turned.div_(255)


def resample(columns: Tensor, source: Tensor, across: Taps, down: Taps) -> Tensor:
    """Cut crops out of patches, and resize them.

    Args:
        columns: Patches, (B, 3, S, S + 4), from the function of this name.
        source: Number of the patch of each crop, int64 (N,).
        across: Weights along x, (N, size, T).
        down: Weights along y, (N, size, T).
    Returns:
        Crops (N, 3, size, size), clamped to 0-1 as the kernel overshoots.
    """
    side, stride = columns.shape[2:]
    n, size, _ = across.pixel.shape
    channel = torch.arange(3, device=source.device)
    narrow = _sums(columns.view(-1, stride), side * (3 * source[:, None] + channel), across)  # (3 N * size, S + 4)
    rows = narrow.view(3 * n, size, stride)[..., :side].transpose(1, 2).reshape(-1, size)  # (3 N * S, size), y before x
    first = side * torch.arange(3 * n, device=source.device).view(n, 3)
    return _sums(rows, first, down).view(n, 3, size, size).clamp_(0, 1)


def _sums(rows: Tensor, first: Tensor, taps: Taps) -> Tensor:
    """Weighted sums of rows (R, width) -> (3 N * size, width), where plane (n, c) starts at row first[n, c]."""
    index = taps.pixel[:, None] + first[:, :, None, None]  # (N, 3, size, T)
    weight = taps.weight[:, None].expand_as(index)
    return F.embedding_bag(index.flatten(0, 2), rows, per_sample_weights=weight.flatten(0, 2), mode="sum")
