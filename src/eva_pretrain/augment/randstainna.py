"""RandStainNA: each crop takes a mean and a deviation of its colours in CIE Lab that a patch of this batch could have.

Source: Shen et al. 2022, arXiv 2206.12694, with the patches of the batch in place of a data set whose colours were
measured before.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_FROM_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""Linear sRGB to CIE XYZ, as in OpenCV."""
_WHITE = (0.950456, 1.0, 1.088754)
_KNEE = 6 / 29
_MOST = 3.0
"""Largest gain of the deviation: glass has nearly none, and its noise is not to become tissue."""


class Restyle(NamedTuple):
    """Change of the colours of N crops in Lab: gain * lab + shift.

    Attributes:
        chosen: Crops that change, bool (N,).
        gain: Gain of each channel, (N, 3).
        shift: Shift of each channel, (N, 3).
    """

    chosen: Tensor
    gain: Tensor
    shift: Tensor


def colour_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and standard deviation of L, a and b of images in 0-1, (N, 3, H, W) -> (N, 3) each."""
    lab = rgb_to_lab(x).flatten(2)
    return lab.mean(2), lab.std(2, correction=0)


def draw_restyle(
    mean: Tensor, std: Tensor, source: Tensor, rate: float, generator: torch.Generator | None = None
) -> Restyle:
    """Draw a target for each crop from normal distributions, fitted to the means and the deviations of the patches.

    Two draws: the coin (N,), and normal numbers (2, N, 3).

    Args:
        mean: Means of the patches of the batch, (B, 3), from `colour_statistics`.
        std: Their standard deviations, (B, 3).
        source: Number of the patch of each crop, int64 (N,).
        rate: Probability that a crop changes.
        generator: Generator on the device; None is the default one.
    """
    n, device = len(source), mean.device
    chosen = torch.rand(n, generator=generator, device=device) < rate
    z = torch.randn((2, n, 3), generator=generator, device=device)
    target, spread = (
        values.mean(0) + each * values.std(0, correction=0) for values, each in zip((mean, std), z, strict=True)
    )
    gain = (spread.clamp(min=0) / std[source].clamp(min=1e-3)).clamp(max=_MOST)
    return Restyle(chosen, gain, target - gain * mean[source])


def restyle(x: Tensor, chosen: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Change the colours of some images: the fields of `Restyle` on images in 0-1, (N, 3, H, W), clamped to 0-1."""
    lab = rgb_to_lab(x).mul_(gain[..., None, None]).add_(shift[..., None, None])
    return torch.where(chosen[:, None, None, None], lab_to_rgb(lab), x)


def rgb_to_lab(x: Tensor) -> Tensor:
    """Convert sRGB in 0-1 to CIE Lab with white D65: L in 0-100, (N, 3, H, W).

    Source: IEC 61966-2-1 and CIE 15; as OpenCV and scikit-image.
    """
    linear = torch.where(x > 0.04045, ((x + 0.055) / 1.055).clamp(min=0) ** 2.4, x / 12.92)
    xyz = _mixed(linear, torch.tensor(_FROM_RGB) / torch.tensor(_WHITE)[:, None])
    f = torch.where(xyz > _KNEE**3, xyz.clamp(min=_KNEE**3) ** (1 / 3), xyz / (3 * _KNEE**2) + 4 / 29)
    fx, fy, fz = f.unbind(1)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert CIE Lab back to sRGB, (N, 3, H, W), clamped to 0-1."""
    light, a, b = lab.unbind(1)
    fy = (light + 16) / 116
    f = torch.stack([fy + a / 500, fy, fy - b / 200], 1)
    xyz = torch.where(f > _KNEE, f**3, 3 * _KNEE**2 * (f - 4 / 29))
    matrix = torch.linalg.inv(torch.tensor(_FROM_RGB).double()).float() * torch.tensor(_WHITE)
    linear = _mixed(xyz, matrix).clamp_(0, 1)
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=1e-8) ** (1 / 2.4) - 0.055, 12.92 * linear)


def _mixed(x: Tensor, matrix: Tensor) -> Tensor:
    return (matrix.to(x.device, non_blocking=True) @ x.flatten(2)).view(x.shape)
