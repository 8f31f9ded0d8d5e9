"""Small pictures for a page: read from the dataset as far as time allows, else drawn from what a store keeps."""

import base64
import io
import math
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

from eva_core.contracts.checks import pixels_of
from eva_core.contracts.dataset import Dataset
from eva_core.contracts.sections import Tiles
from eva_core.store.store import Store

SIDE, TILE = 88, 40
"""Sides of a picture of its own and of one in a sheet, in pixels."""
_GREY = 32
"""Side of the grey picture that a store keeps of each image, in pixels."""


def as_jpeg(pixels: np.ndarray, quality: int = 72) -> str:
    """An image, uint8 (H, W, 3), as a `data:` address."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """The middle square of an image, uint8 (H, W, 3) -> (side, side, 3)."""
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = image[top : top + short, left : left + short]
    square = square[:: max(1, short // (4 * side)), :: max(1, short // (4 * side))]  # before what is slow
    return np.asarray(Image.fromarray(np.ascontiguousarray(square)).resize((side, side), Image.Resampling.BOX))


class Thumbnails:
    """Small pictures of the images of a dataset, by id.

    Attributes:
        drawn: How many were drawn from the store, in grey with the colours of the whole image.
        read: How many were read from the dataset.
    """

    def __init__(self, dataset: Dataset | None, store: Store | None, seconds: float = 1.5) -> None:
        """Begin with nothing.

        Args:
            dataset: Gives the images; None where they are not here.
            store: Keeps a small grey picture of each; None where it is gone.
            seconds: How long images may be read for.
        """
        self.drawn = self.read = 0
        self._dataset = dataset
        self._samples = {} if dataset is None else {sample.id: sample for sample in dataset.samples}
        self._store = None if store is None or store.imported else store
        self._rows = {} if self._store is None else {str(name): row for row, name in enumerate(self._store.ids)}
        self._left = seconds
        self._known: dict[str, np.ndarray] = {}

    def pixels(self, names: Sequence[str], side: int = SIDE) -> list[np.ndarray | None]:
        """A picture of each image, uint8 (side, side, 3); None where there is none."""
        found = {name: image for name in names if (image := self._from_dataset(name)) is not None}
        rest = [name for name in dict.fromkeys(names) if name not in found and name in self._rows]
        found |= self._from_store(rest)
        return [shrunk(found[name], side) if name in found else None for name in names]

    def pictures(self, names: Sequence[str], side: int = SIDE) -> list[str]:
        """A picture of each image as a `data:` address; empty where there is none."""
        return ["" if image is None else as_jpeg(image) for image in self.pixels(names, side)]

    def sheet(self, names: Sequence[str]) -> Tiles | None:
        """All of them in one picture; None where there is none of any."""
        tiles = self.pixels(names, TILE)
        if all(tile is None for tile in tiles):
            return None
        columns = math.ceil(math.sqrt(len(tiles)))
        sheet = np.full((math.ceil(len(tiles) / columns) * TILE, columns * TILE, 3), 128, np.uint8)
        for number, tile in enumerate(tiles):
            if tile is not None:
                top, left = number // columns * TILE, number % columns * TILE
                sheet[top : top + TILE, left : left + TILE] = tile
        return {"image": as_jpeg(sheet, 60), "side": TILE, "columns": columns}

    def _from_dataset(self, name: str) -> np.ndarray | None:
        """An image of at most `SIDE`, while there is time; what does not read is left out."""
        if name in self._known:
            return self._known[name]
        sample = self._samples.get(name)
        if self._dataset is None or sample is None or self._left <= 0:
            return None
        began = time.monotonic()
        try:
            image = shrunk(pixels_of(self._dataset, sample), SIDE)
        except Exception:  # a dataset may raise anything, and a picture costs no report
            return None
        finally:
            self._left -= time.monotonic() - began
        self.read += 1
        self._known[name] = image
        return image

    def _from_store(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Grey pictures, each with the mean and the spread of the colours of its image."""
        if self._store is None or not names:
            return {}
        rows = np.array([self._rows[name] for name in names])
        order = np.argsort(rows)
        grey = self._store.read(rows[order], "signature").astype(np.float32).reshape(-1, _GREY, _GREY, 1)
        colours = self._store.read(rows[order], "colour_stats").astype(np.float32) * 255  # (n, 6)
        mean, std = colours[:, None, None, :3], colours[:, None, None, 3:]
        spread = grey.std(axis=(1, 2), keepdims=True)
        pixels = (grey - grey.mean(axis=(1, 2), keepdims=True)) / np.maximum(spread, 1) * np.minimum(std, 2 * spread)
        images = np.clip(pixels + mean, 0, 255).astype(np.uint8)
        self.drawn += len(names)
        return {names[number]: image for number, image in zip(order, images, strict=True)}
