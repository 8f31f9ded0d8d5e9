"""Colour jitter, grey and solarise, each with a factor of its own for every image.

Hue is turned first and the rest is one product, clamped to 0-1 at its end; torchvision draws the order of the four, and
clamps after each.

An image that stays as it is has a neutral factor, so that no image is picked and nothing waits for the device.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)  # Rec. 601, as in Pillow and torchvision


class Jitter(NamedTuple):
    """Factors of the colour jitter of N images, each (N,).

    Attributes:
        hue: Turn of the hue, 1 being a full turn; 0 changes nothing.
        brightness: Factor; 1 changes nothing.
        contrast: Factor; 1 changes nothing.
        saturation: Factor; 1 changes nothing, 0 is grey.
    """

    hue: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor


def draw_jitter(
    n: int,
    jitter: float,
    strengths: tuple[float, float, float, float],
    grey: float,
    generator: torch.Generator | None,
    device: torch.device,
) -> Jitter:
    """Draw the factors of n images: one draw (6, n) of the coin of the jitter, its four factors, the coin of the grey.

    Args:
        n: Number of images.
        jitter: Probability of the four together.
        strengths: Strengths of hue, brightness, contrast and saturation: the factor is uniform in 0 +- h turns, else in
            1 +- s, never below 0.
        grey: Probability of grey.
        generator: Generator on the device; None is the default one.
        device: Device of the factors.
    Source: torchvision's ColorJitter and RandomGrayscale.
    """
    u = torch.rand((6, n), generator=generator, device=device)
    chosen, hue, *others = u[0] < jitter, strengths[0], *strengths[1:]
    turns = torch.where(chosen, hue * (2 * u[1] - 1), 0.0)
    brightness, contrast, saturation = (
        torch.where(chosen, torch.lerp(torch.full_like(v, max(0.0, 1 - s)), torch.full_like(v, 1 + s), v), 1.0)
        for s, v in zip(others, u[2:5], strict=True)
    )
    return Jitter(turns, brightness, contrast, torch.where(u[5] < grey, 0.0, saturation))


def rotate_hue(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of images in place; value and saturation of HSV stay.

    Args:
        x: Images (N, 3, H, W) in 0-1.
        turns: Turn of each image, (N,), in -0.5 to 0.5.
    Returns:
        The tensor x, changed in place.
    Source: Smith 1978; each channel is piecewise linear in the hue, by its distance from a corner of the hexagon.
    """
    red, green, blue = x.unbind(1)
    # sorting by max and min with 0 / 1 masks: torch.where takes four times as long on a CPU
    more, less = torch.maximum(green, blue), torch.minimum(green, blue)
    swapped, not_red = (torch.lt(a, b, out=torch.empty_like(more)) for a, b in ((green, blue), (red, more)))
    top, middle = torch.maximum(red, more), torch.minimum(red, more)
    low = torch.minimum(middle, less)
    chroma = top - low
    corner = (12 * swapped).sub_(2).mul_(not_red).sub_(swapped, alpha=6)  # 0, -6, -2 or 4
    sixths = middle.sub_(less).div_(chroma.clamp(min=1e-12)).add_(corner).abs_()  # grey: chroma 0, any hue will do
    sixths += 6 * turns[:, None, None]
    sixths -= 6 * (sixths / 6).floor_()
    torch.addcmul(low, (sixths - 3).abs_().sub_(1).clamp_(0, 1), chroma, out=red)
    torch.addcmul(top, (sixths - 2).abs_().sub_(1).clamp_(0, 1), chroma, value=-1, out=green)
    torch.addcmul(top, (sixths - 4).abs_().sub_(1).clamp_(0, 1), chroma, value=-1, out=blue)
    return x


def scale_colour(x: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Scale brightness, contrast about the mean grey of the image, and saturation, in one pass and in place.

    The three commute except for clamping to 0-1. Here that is done once, at the end, so that their order does not
    matter; torchvision draws the order, and clamps after each.

    Args:
        x: Images (N, 3, H, W) in 0-1.
        brightness: Factors (N,); 1 changes nothing.
        contrast: Factors (N,); 1 changes nothing.
        saturation: Factors (N,); 1 changes nothing, 0 is grey.
    Returns:
        The tensor x, changed in place, in 0-1.
    """
    red, green, blue = x.unbind(1)
    grey = torch.add(red * _LUMA[0], green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])  # (N, H, W)
    brightness, contrast, saturation = (f[:, None, None] for f in (brightness, contrast, saturation))
    pivot = brightness * (1 - contrast) * grey.mean((1, 2), keepdim=True)
    gain = brightness * contrast
    grey.mul_(gain * (1 - saturation)).add_(pivot)
    return x.mul_((gain * saturation)[:, None]).add_(grey[:, None]).clamp_(0, 1)


def solarise(x: Tensor, chosen: Tensor) -> Tensor:
    """Invert values above a half in some images, in place.

    Args:
        x: Images (N, 3, H, W) in 0-1.
        chosen: Images to solarise, bool (N,).
    Returns:
        The tensor x, changed in place.

    Examples:
        >>> x = torch.tensor([0.25, 0.75]).expand(2, 3, 1, 2).clone()
        >>> solarise(x, torch.tensor([False, True]))[:, 0, 0].tolist()
        [[0.25, 0.75], [0.25, 0.25]]
    """
    # 1 - x is the lesser of the two exactly where x is above a half
    most = torch.where(chosen, 1.0, 2.0)[:, None, None, None]
    return torch.minimum(x, most - x, out=x)
