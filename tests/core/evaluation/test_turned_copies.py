"""Copies are found whatever their turn, and other places of the same tissue are not."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from eva_core.evaluation.turned_copies import turned_copies
from eva_core.extraction.pixels import signature


def tissue(seed: int, size: int = 224) -> Image.Image:
    """Blobs of several sizes and colours, no two images alike."""
    rng = np.random.default_rng(seed)
    layers = [rng.normal(size=(n, n)) for n in (5, 9, 17)]
    grey = sum(np.asarray(Image.fromarray(layer.astype(np.float32)).resize((size, size))) for layer in layers)
    return Image.fromarray(np.clip(np.array([190, 140, 180]) + 22 * grey[..., None], 0, 255).astype(np.uint8))


def turned(image: Image.Image, angle: float) -> Image.Image:
    """Turned, and cut so that no corner is empty."""
    size, inner = image.width, image.width / (abs(np.cos(np.radians(angle))) + abs(np.sin(np.radians(angle))))
    edge = (size - inner) / 2
    box = (edge, edge, size - edge, size - edge)
    return image.rotate(angle, Image.Resampling.BICUBIC).resize((size, size), Image.Resampling.BICUBIC, box)


COPIES = {
    "itself": lambda image: image,
    "quarter turn": lambda image: image.rotate(90),
    "half turn, mirrored": lambda image: image.rotate(180).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "15 degrees": lambda image: turned(image, 15),
    "-25 degrees": lambda image: turned(image, -25),
    "cut and shifted": lambda image: image.resize((224, 224), box=(20, 6, 214, 200)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
}


def pairs(images: list[Image.Image]) -> set[tuple[int, int]]:
    found = turned_copies(np.stack([signature(np.asarray(image)) for image in images]))
    return {(int(a), int(b)) for a, b in found}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
def test_a_copy_is_found_among_others(copy):
    images = [tissue(seed) for seed in range(8)]
    assert pairs([*images, copy(images[3])]) == {(3, 8)}


def test_blank_images_and_single_ones_have_no_copies():
    blank = Image.new("RGB", (224, 224), (240, 240, 240))
    assert pairs([blank, blank, tissue(0)]) == set()
    assert pairs([tissue(0)]) == set()


@pytest.mark.real_data
def test_places_of_real_tissue_are_not_taken_for_copies(real_data):
    files = sorted((real_data / "crc_polyp5" / "train").rglob("*.*"))[::12]
    assert len(files) > 40
    images = [Image.open(file).convert("RGB") for file in files]
    found = pairs([*images, *(turned(image, 20) for image in images[:20])])
    copies = {(n, len(images) + n) for n in range(20)}
    assert len(found & copies) >= 17
    assert len(found - copies) <= 1
