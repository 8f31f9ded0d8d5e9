"""Small pictures: from the images while there is time, else from the store."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.reports.thumbnails import TILE, Thumbnails, as_jpeg, shrunk
from tests.core.reports.conftest import write_store


class Squares(Dataset):
    """One colour each; the third does not read."""

    def __init__(self) -> None:
        self.card = DatasetCard("squares", classes=("a", "b"))
        self.samples = [Sample(f"{n}", "test", 0) for n in range(4)]

    def image(self, sample: Sample) -> np.ndarray:
        if sample.id == "2":
            raise RuntimeError("no such image")
        return np.full((300, 200, 3), [40 * int(sample.id), 0, 200], np.uint8)


def opened(address: str) -> np.ndarray:
    kind, _, content = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.array(Image.open(io.BytesIO(base64.b64decode(content))))


def test_the_middle_of_an_image_is_shown():
    image = np.zeros((64, 512, 3), np.uint8)
    image[:, 224:288] = 200
    assert (shrunk(image, 16) == 200).all()
    assert shrunk(np.zeros((3, 5, 3), np.uint8), 16).shape == (16, 16, 3)
    assert opened(as_jpeg(image)).shape == (64, 512, 3)


def test_images_are_read_and_what_does_not_read_is_left_out():
    thumbnails = Thumbnails(Squares(), None)
    first, broken, unknown = thumbnails.pictures(["1", "2", "nobody"])
    assert np.abs(opened(first).astype(int) - [40, 0, 200]).max() < 8
    assert (broken, unknown) == ("", "")
    assert (thumbnails.read, thumbnails.drawn) == (1, 0)


def test_a_sheet_has_a_tile_for_each_in_order():
    sheet = Thumbnails(Squares(), None).sheet(["0", "3", "2", "1", "0"])
    assert sheet is not None
    pixels = opened(sheet["image"])
    assert pixels.shape == (2 * TILE, 3 * TILE, 3)
    assert float(pixels[TILE // 2, TILE + TILE // 2, 0]) == pytest.approx(120.0, abs=8)
    assert Thumbnails(None, None).sheet(["0"]) is None


def test_without_images_or_time_the_store_gives_them(tmp_path: Path):
    store = write_store(tmp_path / "s.h5", 6)
    for thumbnails in (Thumbnails(None, store), Thumbnails(Squares(), store, seconds=0)):
        pictures = thumbnails.pixels(["row 3", "row 1", "nobody"])
        assert pictures[2] is None
        assert [p.mean((0, 1)).round(-1).tolist() for p in pictures[:2] if p is not None] == [
            [200, 100, 150],
            [200, 100, 150],
        ]
        assert thumbnails.drawn == 2
