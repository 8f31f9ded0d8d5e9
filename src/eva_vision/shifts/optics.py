"""What objective and resampling do: focus, an error of the stated magnification, the kernel of a resize."""

import math

import numpy as np
from PIL import Image
from scipy.signal import fftconvolve

from eva_vision.shifts.contracts import ChangeCard, change
from eva_vision.shifts.recording import as_uint8

APERTURE = 0.75
"""Numerical aperture of the usual 20x objective of slide scanners, in air."""
ROUND_TRIP = 0.75
"""Size at which `kernel` has an image on its way."""
_FINER = 15
"""Points a side by which a pixel of a disc is measured."""


@change(ChangeCard("focus, micrometres off", (0.5, 1.0, 2.0, 4.0), bounds=(0.0, 20.0)))
def blur(image: np.ndarray, strength: float, mpp: float) -> np.ndarray:
    """Put an image out of focus: each point becomes an even disc, as geometrical optics has it.

    The radius is z * tan(asin(NA)) for a plane that is z micrometres off, with NA 0.75. Diffraction is left out: below
    about half a micrometre, the depth of field of such an objective, little of it is seen.

    Args:
        image: uint8 (H, W, 3).
        strength: Distance from the plane of focus, micrometres.
        mpp: Micrometres per pixel.
    """
    kernel = disc(strength * math.tan(math.asin(APERTURE)) / mpp)
    edge = len(kernel) // 2
    padded = np.pad(image.astype(np.float64), ((edge, edge), (edge, edge), (0, 0)), mode="symmetric")
    return as_uint8(fftconvolve(padded, kernel[..., None], mode="valid", axes=(0, 1)))


def disc(radius: float) -> np.ndarray:
    """An even disc whose sum is 1, each pixel by the share of it that the disc covers: (K, K), K odd.

    Args:
        radius: In pixels.

    Examples:
        >>> disc(0.4)
        array([[1.]])
    """
    side = 2 * math.ceil(max(0.0, radius - 0.5)) + 1
    fine = (np.arange(side * _FINER) + 0.5) / _FINER - side / 2
    covered = (fine[:, None] ** 2 + fine**2 <= max(radius, 0.1) ** 2).astype(np.float64)
    kernel: np.ndarray = covered.reshape(side, _FINER, side, _FINER).mean(axis=(1, 3))
    kernel /= kernel.sum()
    return kernel


@change(ChangeCard("error of the stated mpp, share", (-0.2, -0.1, 0.1, 0.2), bounds=(-0.9, 2.0), on_slides="mpp"))
def mpp_error(image: np.ndarray, strength: float) -> np.ndarray:
    """Show the tissue at another magnification than stated, in an image of the same size.

    A pixel is 1 + s times as long as stated. Above 0 tissue looks smaller: what lies beyond the image is not known, so
    its borders are mirrored. Below 0 it looks larger, and the borders are lost.

    Args:
        image: uint8 (H, W, 3).
        strength: The share s.
    """
    height, width = image.shape[:2]
    size = [max(1, round(side / (1.0 + strength))) for side in (height, width)]
    scaled = np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))
    missing = [max(0, side - got) for side, got in zip((height, width), size, strict=True)]
    pads = [(gap // 2, gap - gap // 2) for gap in missing]
    scaled = np.pad(scaled, (*pads, (0, 0)), mode="symmetric")
    top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


@change(ChangeCard("kernel of a resize to 3/4 and back", ("lanczos", "bicubic", "bilinear", "box", "nearest")))
def kernel(image: np.ndarray, strength: str) -> np.ndarray:
    """Shrink to three quarters and enlarge again with one kernel, as patches do that were cut at another magnification.

    Args:
        image: uint8 (H, W, 3).
        strength: `lanczos`, `bicubic`, `bilinear`, `box` or `nearest`, as Pillow has them.
    """
    way, (height, width) = Image.Resampling[strength.upper()], image.shape[:2]
    smaller = (max(1, round(width * ROUND_TRIP)), max(1, round(height * ROUND_TRIP)))
    return np.asarray(Image.fromarray(image).resize(smaller, way).resize((width, height), way))
