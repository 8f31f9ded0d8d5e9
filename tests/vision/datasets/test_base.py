"""Datasets of image files: the pixels of a file, and what tells them apart."""

from pathlib import Path

import numpy as np
from PIL import Image

from eva_core.contracts.dataset import Sample
from eva_core.files.file_hashes import UNREADABLE
from eva_vision.datasets.base import ImageFiles


class Files(ImageFiles):
    def samples(self): ...

    def fingerprint(self): ...


def test_an_image_is_the_decoded_file_and_its_content_the_hash_of_it(tmp_path: Path):
    path = tmp_path / "a.png"
    drawn = np.full((5, 4, 3), (200, 100, 50), np.uint8)
    Image.fromarray(drawn).save(path)
    sample = Sample("a", 0, "train", path=path)
    files = Files.__new__(Files)
    assert np.array_equal(files.image(sample), drawn)
    assert files.pixels(sample, {path: "abc"}) == "abc"
    assert files.pixels(sample, {path: UNREADABLE}) is None
