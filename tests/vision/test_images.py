from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_core.files.file_hashes import UNREADABLE
from eva_vision.images import image_size, is_image, read_image, readable_hash
from tests.conftest import picture


@pytest.mark.parametrize("name", ["a.png", "b/c.JPG", "d.x.tiff", "e.WebP"])
def test_images_are_known_by_their_names(name: str):
    assert is_image(name)
    assert not is_image(f"{name}.txt")
    assert not is_image(name.rpartition(".")[0])


def test_an_image_comes_back_as_it_was_saved(tmp_path: Path):
    pixels = picture(0)[:20]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels)
    assert image_size(tmp_path / "a.png") == (20, 32)


def test_what_is_no_image_is_an_error(tmp_path: Path):
    (tmp_path / "a.png").write_text("no pixels")
    for read in (read_image, image_size):
        with pytest.raises(OSError, match="it is no 8-bit image"):
            read(tmp_path / "a.png")
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "gone.png")


def test_the_hash_of_what_does_not_read_is_not_known():
    assert readable_hash("abc") == "abc"
    assert readable_hash(UNREADABLE) is None
