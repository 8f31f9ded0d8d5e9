"""The base of datasets of image files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from typing_extensions import override

from eva_core.contracts.dataset import Dataset, Sample
from eva_vision.images import read_image, readable_hash


class ImageFiles(Dataset):
    """A dataset whose samples are image files."""

    @override
    def image(self, sample: Sample) -> np.ndarray:
        """Decode the file of a sample: uint8 RGB, (H, W, 3)."""
        assert sample.path is not None
        return read_image(sample.path)

    @override
    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the file."""
        assert sample.path is not None
        return readable_hash(hashes[sample.path])
