"""Jitter of the stains: an image is split into haematoxylin, eosin and a third stain, each changed to alpha s + beta.

The unit of s decides how strong a sigma is: beta 0.05 on all three moves stroma (225, 170, 200) to (214, 152, 189) in
optical density, to (190, 97, 159) in Tellez's space and to (114, 36, 89) in scikit-image's.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Space = Literal["od", "tellez", "skimage"]

_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density over red, green, blue of haematoxylin, eosin and DAB: Ruifrok and Johnston 2001, table 1 rounded."""
_GLASS, _TISSUE = 0.15, 0.25
"""Mean optical density of glass at most (Macenko et al. 2009) and of tissue at least. The shift grows from 0 to full
between them: an abrupt start would scatter dots over pale tissue, of 40 grey levels at beta 0.2."""
_DARKEST = 1 / 255
_SKIMAGE_DARKEST = 1e-6


class Stain(NamedTuple):
    """Jitter of the stains of N images, (N, 3) over haematoxylin, eosin, third stain.

    Attributes:
        alpha: Gains.
        beta: Shifts.
    """

    alpha: Tensor
    beta: Tensor


def draw_stain(n: int, sigma: float, space: Space, generator: torch.Generator | None, device: torch.device) -> Stain:
    """Draw gains uniform in 1 +- sigma and shifts uniform in +- sigma for each stain of n images. One draw (2, n, 3).

    In optical density beta is 0 on the third stain, which H&E does not have.

    Args:
        n: Number of images.
        sigma: Strength of the jitter.
        space: Unit of the stains, as in `jitter_stain`.
        generator: Generator on the device; None is the default one.
        device: Device of the factors.
    """
    u = torch.rand((2, n, 3), generator=generator, device=device)
    alpha, beta = sigma * (2 * u - 1)
    if space == "od":
        beta[:, 2] = 0
    return Stain(1 + alpha, beta)


def jitter_stain(x: Tensor, alpha: Tensor, beta: Tensor, space: Space = "od") -> Tensor:
    """Scale and shift the stains of each image.

    Args:
        x: Images, float32 (N, 3, H, W) in 0-1.
        alpha: Gains (N, 3) of haematoxylin, eosin, third stain.
        beta: Shifts (N, 3), in the unit of the space.
        space: `od`: -ln(max(x, 1/255)), where the shift is 0 up to a mean over the channels of 0.15, which is glass,
            and whole from 0.25. The others shift every pixel, and serve to reproduce published work. `tellez`:
            -ln(x + 2), Tellez et al. 2018. `skimage`: ln(max(x, 1e-6)) / ln(1e-6), stains clamped at 0, as in
            scikit-image's rgb2hed.
    Returns:
        Images (N, 3, H, W) in 0-1.
    """
    matrix = torch.tensor(_STAINS)
    stains, unmix = (m.to(x.device, non_blocking=True) for m in (matrix, matrix.inverse()))
    mix = (unmix * alpha[:, None]) @ stains  # (N, 3, 3): density -> density, both as rows
    shift = beta @ stains  # (N, 3)
    if space == "od":
        logs = x.clamp(min=_DARKEST).log_().flatten(2)  # (N, 3, HW), minus density
        tissue = logs.mean(1, keepdim=True).add_(_GLASS).div_(_GLASS - _TISSUE).clamp_(0, 1)
        changed = torch.baddbmm(tissue * -shift[..., None], mix.mT, logs).exp_()
    elif space == "tellez":
        changed = torch.baddbmm(-shift[..., None], mix.mT, (x + 2).log_().flatten(2)).exp_().sub_(2)
    else:
        unit = math.log(_SKIMAGE_DARKEST)
        amounts = (unmix.mT @ x.clamp(min=_SKIMAGE_DARKEST).log_().div_(unit).flatten(2)).clamp_(min=0)
        amounts.mul_(alpha[..., None]).add_(beta[..., None])
        changed = (stains.mT @ amounts).mul_(unit).exp_()
    return changed.view(x.shape).clamp_(0, 1)
