"""Images of any size as the square that a model sees; still uint8, so that little travels to the device."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from eva_core.contracts.cards import Geometry
from eva_core.errors import EvaError

LONGEST = 64
"""A strip that is thinner would be enlarged to gigabytes, of which the crop shows a spot."""


def resize_and_crop(geometry: Geometry) -> Callable[[np.ndarray], Tensor]:
    """Resize the short side (antialiased), then crop the centre.

    Returns:
        A picklable function: uint8 (H, W, 3) -> uint8 (3, crop, crop); borders are black where the crop is larger.
    """
    return ResizeAndCrop(geometry)


class ResizeAndCrop:
    """The callable behind `resize_and_crop`; a class because loader workers must pickle it."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.mode = InterpolationMode(geometry.interpolation)

    def __call__(self, image: np.ndarray) -> Tensor:
        """Bring an image to the square: uint8 (H, W, 3) -> uint8 (3, crop, crop).

        Raises:
            EvaError: One side is more than 64 times as long as the other.
        """
        short, long = sorted(image.shape[:2])
        if long > LONGEST * short:
            raise EvaError(
                f"Expected sides that differ by a factor of {LONGEST} at most, but got {short} x {long} pixels"
            )
        tensor = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)
        if min(tensor.shape[1:]) != self.geometry.resize:
            tensor = F.resize(tensor, [self.geometry.resize], self.mode, antialias=True)
        square: Tensor = F.center_crop(tensor, [self.geometry.crop, self.geometry.crop])
        return square.contiguous()
