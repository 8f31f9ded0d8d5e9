"""The geometry by which images reach a model at another magnification than their own."""

from dataclasses import replace

import numpy as np

from eva_core.contracts.cards import Geometry, ModelCard
from eva_core.contracts.checks import pixels_of
from eva_core.contracts.dataset import Dataset
from eva_core.contracts.protocol import Protocol

CONVOLUTION = 32  # sides that networks without tokens take: their largest stride
_LOOKED_AT = 64  # images whose sides are read


def resized(mpp: float, native: float, dataset: Dataset, protocol: Protocol, card: ModelCard) -> Protocol | None:
    """A protocol that resizes whole images to another magnification; None where that cannot be."""
    geometry = geometry_at(mpp, native, _short_side(dataset), protocol, card)
    return None if geometry is None else replace(protocol, geometry=geometry)


def geometry_at(mpp: float, native: float, side: int, protocol: Protocol, card: ModelCard) -> Geometry | None:
    """The resize that makes `native` into `mpp`, and the largest crop that the model takes; None where it cannot be.

    Args:
        mpp: Micrometres per pixel that are wanted.
        native: Micrometres per pixel of the images.
        side: Short side of the images, in pixels.
        protocol: Its geometry says how large the crop may be.
        card: Card of the model.

    Examples:
        >>> card = ModelCard("a_vit", patch_size=14)
        >>> geometry_at(0.5, native=0.25, side=896, protocol=Protocol("example"), card=card)
        Geometry(resize=448, crop=224, interpolation='bilinear')
    """
    usual, cell = protocol.geometry_for(card), card.patch_size or CONVOLUTION
    resize = round(side * native / mpp)
    crop = min(usual.crop, resize) // cell * cell
    if mpp < native * 0.99 or crop < cell or (card.sizes and crop not in card.sizes):
        return None
    return replace(usual, resize=resize, crop=crop)


def _short_side(dataset: Dataset) -> int:
    """Median over some images; exact where all have one size."""
    samples = dataset.samples[:: max(1, len(dataset.samples) // _LOOKED_AT)]
    return int(np.median([min(pixels_of(dataset, sample).shape[:2]) for sample in samples]))
