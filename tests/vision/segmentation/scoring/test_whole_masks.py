from pathlib import Path

import numpy as np
from PIL import Image

from eva_vision.segmentation.scoring import whole_masks
from eva_vision.segmentation.scoring.overlays import colours_of


class Unit:
    def __init__(self, sample: int, name: str) -> None:
        self.sample, self.id = sample, name


class Dataset:
    samples = ("first", "second")

    def size(self, sample: str) -> tuple[int, int]:
        return {"first": (8, 6), "second": (3, 4)}[sample]


class At:
    """As much of a context as masks are written from."""

    dataset = Dataset()
    store = type("Store", (), {"readable": np.array([True, True])})()
    card = type("Card", (), {"background": 0})()


def test_masks_have_the_size_of_their_images_and_the_colours_of_the_classes(tmp_path: Path, monkeypatch):
    small = np.array([[0, 1, 2], [2, 1, 0], [0, 0, 0], [1, 1, 1]], np.uint8)
    own = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    units = [(Unit(0, "a/one.png"), small), (Unit(1, "two_0.5"), own)]
    monkeypatch.setattr(whole_masks, "predicted", lambda at, decoders, samples: iter(units))
    folder = whole_masks.write_masks(At(), [], ["background", "a", "b"], tmp_path)
    assert folder == tmp_path / "masks"
    assert (tmp_path / "classes.txt").read_text() == "background\na\nb\n"
    with Image.open(folder / "a" / "one.png") as first, Image.open(folder / "two_0.5.png") as second:
        assert np.array_equal(np.asarray(first), small.repeat(2, 0).repeat(2, 1))
        assert np.array_equal(np.asarray(second), own)
        assert first.mode == "P"
        assert bytes(first.getpalette()[:9]) == bytes(colours_of(3, 0)[:9])
