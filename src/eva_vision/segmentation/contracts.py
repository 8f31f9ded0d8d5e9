"""Contracts of segmentation: its datasets and its heads."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from eva_core.contracts.dataset import Dataset, Sample

IGNORE = 255
"""The label of a pixel that is neither learnt nor scored."""


class SegmentationDataset(Dataset):
    """A dataset with a class for every pixel. Subclasses set `card` with `task="segmentation"`, and `samples`."""

    @abstractmethod
    def size(self, sample: Sample) -> tuple[int, int]:
        """Height and width of the image in pixels, without decoding it."""

    @abstractmethod
    def mask(self, sample: Sample) -> np.ndarray:
        """The class of every pixel: uint8 (H, W), indices into the card's classes or `IGNORE`.

        Raises:
            EvaError: It does not read, holds a label outside the classes, or is of another size than the image.
        """

    def labelled(self, sample: Sample) -> bool:
        """Whether a mask is known."""
        return sample.label_path is not None

    def instances(self, sample: Sample) -> np.ndarray | None:
        """The number of the object at every pixel, 0 for none: int32 (H, W); None where objects are not told apart."""

    def labels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """Say what decides `mask(sample)`, as `pixels` does for the image; None where it is not known."""


class SegmentationHead(ABC):
    """Scores the classes of every pixel from a feature map. How it is trained is the protocol's."""

    @abstractmethod
    def decoder(self, channels: int, classes: int) -> nn.Module:
        """A new network with random weights from torch's global generator.

        Its `forward(features, images)` takes feature maps (B, channels, h, w) and the normalised images they come from,
        (B, 3, H, W), and gives logits (B, classes, H', W'); where H', W' is not H, W they are resized, bilinear.
        """
