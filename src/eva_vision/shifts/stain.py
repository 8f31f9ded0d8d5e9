"""What staining does: more or less of each dye, or the dyes of another laboratory.

Both work on optical densities, of which dyes add up (Beer and Lambert): -ln((value + 1) / 256), so that all 256 grey
levels come back.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from eva_core.errors import UsageError
from eva_vision.shifts.contracts import ChangeCard, Reference, change
from eva_vision.shifts.recording import as_uint8

HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Absorption of haematoxylin, eosin and DAB in red, green and blue: Ruifrok and Johnston 2001."""
_UNIT = HED / np.linalg.norm(HED, axis=1, keepdims=True)
THINNEST = 0.15
"""Optical density below which a pixel counts as glass, in natural logarithms as in the authors' code."""
FEWEST = 0.02
"""Share of pixels with tissue below which the stains of an image are not known."""


def densities(image: np.ndarray) -> np.ndarray:
    """Optical densities: uint8 (H, W, 3) -> float (H * W, 3)."""
    return -np.log((image.reshape(-1, 3).astype(np.float64) + 1.0) / 256.0)


def pixels_of_densities(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `densities`: float (H * W, 3) -> uint8 of a shape."""
    return as_uint8(256.0 * np.exp(-values) - 1.0).reshape(shape)


@change(ChangeCard("stain, haematoxylin up and eosin down", (-0.4, -0.2, -0.1, 0.1, 0.2, 0.4), bounds=(-0.95, 0.95)))
def stain(image: np.ndarray, strength: float) -> np.ndarray:
    """Multiply haematoxylin by 1 + s and eosin by 1 - s, after colour deconvolution; the rest stays.

    Source: Ruifrok and Johnston, Analytical and Quantitative Cytology and Histology 23, 2001; as an augmentation Tellez
    et al. 2018, who draw the shares for each image. Here all images have the same: a laboratory differs as a whole.

    Args:
        image: uint8 (H, W, 3).
        strength: The share s.
    """
    amounts = densities(image) @ np.linalg.inv(_UNIT)
    amounts *= np.array([1.0 + strength, 1.0 - strength, 1.0])
    return pixels_of_densities(amounts @ _UNIT, image.shape)


@dataclass(frozen=True)
class Stains:
    """The two stains of an image.

    Attributes:
        colours: Optical density of haematoxylin and of eosin in red, green and blue, of length 1, (2, 3).
        most: The 99th percentile of the amount of each, (2,).
    """

    colours: np.ndarray
    most: np.ndarray


@change(ChangeCard("stain of the reference, share of the way", (0.25, 0.5, 1.0), bounds=(0.0, 1.0)))
def stain_swap(image: np.ndarray, strength: float, reference: Reference) -> np.ndarray:
    """Give an image the stains of a reference, or bring it a share of the way there.

    Both have their stains found by Macenko's method; colours and 99th percentiles go from the own to those of the
    reference. What the two stains do not explain stays. An image with next to no tissue is left as it is.

    Source: Macenko et al., ISBI 2009.

    Args:
        image: uint8 (H, W, 3).
        strength: Share of the way, 0 to 1.
        reference: The image that lends its stains.
    """
    own, other = stains_of(image), _stains_of_reference(reference)
    if own is None:
        return image
    if other is None:
        raise UsageError("Expected tissue in the reference image, but it shows next to none. Choose another.")
    values = densities(image)
    amounts = amounts_of(values, own.colours)
    colours = _unit((1.0 - strength) * own.colours + strength * other.colours)
    most = (1.0 - strength) * own.most + strength * other.most
    swapped = values + (amounts * (most / own.most)) @ colours - amounts @ own.colours
    return pixels_of_densities(swapped, image.shape)


@lru_cache(maxsize=4)
def _stains_of_reference(reference: Reference) -> Stains | None:
    """The stains of a reference, found once a process."""
    return stains_of(reference.image)


def stains_of(image: np.ndarray) -> Stains | None:
    """Find the stains of an H&E image by Macenko's method; None where there is next to no tissue.

    Pixels are projected on the plane of the two greatest eigenvectors of the covariance of their densities; the 1st and
    99th percentiles of their angles there are the stains, of which the redder absorption is haematoxylin's.

    Args:
        image: uint8 (H, W, 3).
    """
    values = densities(image)
    tissue = values[(values > THINNEST).all(axis=1)]
    if len(tissue) < max(3.0, FEWEST * len(values)):
        return None
    plane = np.linalg.eigh(np.cov(tissue.T))[1][:, 1:]  # (3, 2), ascending eigenvalues
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    x, y = (tissue @ plane)[:, 1], (tissue @ plane)[:, 0]
    angles = np.percentile(np.arctan2(y, x), [1.0, 99.0])
    colours = _unit(np.stack([plane @ [np.sin(angle), np.cos(angle)] for angle in angles]))
    if colours[0, 0] < colours[1, 0]:  # haematoxylin, which is blue, takes more red
        colours = colours[::-1]
    most = np.percentile(amounts_of(values, colours), 99.0, axis=0)
    if np.linalg.matrix_rank(colours, tol=1e-3) < 2 or (most <= 0).any():
        return None
    return Stains(colours, most)


def amounts_of(values: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Amount of each stain by least squares: densities (N, 3), colours (2, 3) -> (N, 2)."""
    amounts: np.ndarray = values @ np.linalg.pinv(colours)
    return amounts


def _unit(colours: np.ndarray) -> np.ndarray:
    unit: np.ndarray = colours / np.linalg.norm(colours, axis=1, keepdims=True)
    return unit
