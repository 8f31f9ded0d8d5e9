"""A finished store of feature maps, open for reading."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from typing_extensions import override

from eva_core.store.hdf5_files import reading
from eva_core.store.store import Samples
from eva_vision.segmentation.contracts import IGNORE

_AT_ONCE = 16  # masks read in one go


class MapStore(Samples):
    """A finished store of feature maps: a row is a tile, a sample has one tile or several."""

    @override
    def _load(self, file: Mapping[str, Any]) -> bool:
        self.tiles, self.sizes = file["tiles"][:], file["sizes"][:]  # (n, 3), (samples, 2)
        self.channels = int(file["features"].shape[1])
        tiles_of = np.bincount(self.tiles[:, 0], minlength=len(self.ids))
        readable_tiles = np.bincount(self.tiles[:, 0], file["readable"][:], minlength=len(self.ids))
        self.readable = (tiles_of > 0) & (readable_tiles == tiles_of)
        return all(len(file[name]) == self.attributes["n"] for name in ("features", "images", "masks", "tiles"))

    def tiles_of(self, samples: np.ndarray) -> np.ndarray:
        """Row numbers of the tiles of some samples, ascending."""
        return np.flatnonzero(np.isin(self.tiles[:, 0], samples))

    @override
    def signatures(self, samples: np.ndarray) -> np.ndarray:
        with reading(self.path) as file:
            first = np.searchsorted(self.tiles[:, 0], samples)  # tiles lie in the order of the samples
            signatures: np.ndarray = file["signature"][:][first]
        return signatures

    @cached_property
    def pixels(self) -> np.ndarray:
        """Number of pixels of every label in each sample, (samples, 256)."""
        counts = np.zeros((len(self.ids), IGNORE + 1), np.int64)
        with reading(self.path) as file:
            for first in range(0, len(self.tiles), _AT_ONCE):
                for row, mask in enumerate(file["masks"][first : first + _AT_ONCE], start=first):
                    counts[self.tiles[row, 0]] += np.bincount(mask.ravel(), minlength=IGNORE + 1)
        return counts

    @cached_property
    @override
    def targets(self) -> np.ndarray:  # type: ignore[override]  # read from all masks, so only when asked for
        """The class that most pixels of a sample have, not counting the most frequent class of all: (samples,).

        A hold-out is balanced by it, so that rare classes are in both parts.
        """
        counts = self.pixels.copy()
        counts[:, [IGNORE, counts[:, :IGNORE].sum(0).argmax()]] = 0
        return np.asarray(counts.argmax(1))

    def image(self, tile: int) -> np.ndarray:
        """Read a tile as the model saw it, uint8 (S, S, 3)."""
        with reading(self.path) as file:
            pixels: np.ndarray = file["images"][tile].transpose(1, 2, 0)
        return pixels.copy()
