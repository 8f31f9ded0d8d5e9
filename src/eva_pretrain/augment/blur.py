"""Gaussian blur with a strength of its own for every image."""

import torch
import torch.nn.functional as F
from torch import Tensor

KERNEL = 9  # pixels; DINOv2's, as is the range of sigma
SIGMA = (0.1, 2.0)


def draw_sigma(n: int, rate: float, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw the strengths of n images in pixels, (n,): uniform in 0.1-2, or 0 with probability 1 - rate.

    One draw (2, n).

    Args:
        n: Number of images.
        rate: Probability of a blur.
        generator: Generator on the device; None is the default one.
        device: Device of the strengths.
    """
    u = torch.rand((2, n), generator=generator, device=device)
    return torch.where(u[0] < rate, SIGMA[0] + u[1] * (SIGMA[1] - SIGMA[0]), 0.0)


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Blur images in place by 9 x 9 pixels, mirrored at the border.

    Args:
        x: Images (N, 3, H, W), at least 5 pixels wide and high.
        sigma: Strength of each image in pixels, (N,); 0 leaves an image as it is.
    Returns:
        The tensor x, changed in place.
    Source: torchvision's GaussianBlur: exp(-d^2 / (2 sigma^2)) at whole pixels, normalised over the nine.
    """
    if x.device.type != "cpu":  # picking images would wait for the device, which costs more
        return x.copy_(_blurred(x, sigma))
    chosen = sigma.nonzero().squeeze(1)
    return x.index_copy_(0, chosen, _blurred(x[chosen], sigma[chosen])) if len(chosen) else x


def _blurred(x: Tensor, sigma: Tensor) -> Tensor:
    n, _, height, width = x.shape
    half = KERNEL // 2
    distance = torch.arange(-half, half + 1, device=x.device) / sigma.clamp(min=1e-3)[:, None]  # 0 / 0 has no value
    kernel = torch.softmax(-0.5 * distance.square(), 1).repeat_interleave(3, 0)[:, None, :, None]  # (3 N, 1, 9, 1)
    mirrored = F.pad(x.view(1, 3 * n, height, width), (half, half, half, half), mode="reflect")
    mirrored = F.conv2d(mirrored, kernel, groups=3 * n)
    return F.conv2d(mirrored, kernel.transpose(2, 3), groups=3 * n).view(x.shape)
