"""Resize and crop, held against torchvision's own transform on Pillow images."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize
from torchvision.transforms.v2 import functional as F

from eva_core.contracts.cards import Geometry
from eva_core.errors import EvaError
from eva_vision.transforms import resize_and_crop
from tests.conftest import picture


def rectangle(height: int, width: int) -> np.ndarray:
    """A smooth ramp with noise, so that both the grid and the filter show."""
    rows, columns = np.mgrid[0:height, 0:width]
    ramp = np.stack([rows * 200 / height, columns * 200 / width, (rows + columns) % 200], axis=-1)
    return np.clip(ramp + np.random.default_rng(0).normal(0, 20, ramp.shape), 0, 255).astype(np.uint8)


def by_pillow(image: np.ndarray, geometry: Geometry) -> np.ndarray:
    mode = InterpolationMode(geometry.interpolation)
    reference = Compose([Resize(geometry.resize, mode), CenterCrop(geometry.crop)])
    return np.asarray(reference(Image.fromarray(image))).astype(int)


@pytest.mark.parametrize("shape", [(500, 500), (300, 411), (411, 300), (225, 900), (50, 64), (1, 3)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_equals_pillow_to_one_level(shape: tuple[int, int], interpolation: str):
    geometry, image = Geometry(224, 224, interpolation), rectangle(*shape)  # type: ignore[arg-type]
    ours = resize_and_crop(geometry)(image)
    assert ours.dtype == torch.uint8
    assert ours.shape == (3, 224, 224)
    assert ours.is_contiguous()
    off = np.abs(ours.permute(1, 2, 0).numpy().astype(int) - by_pillow(image, geometry))
    assert off.max() <= 1


def test_downscaling_is_antialiased():
    checkers = np.tile(np.kron([[0, 255], [255, 0]], np.ones((1, 1)))[..., None], (224, 224, 3)).astype(np.uint8)
    small = resize_and_crop(Geometry(112, 112))(checkers).float()
    assert (small - 127.5).abs().max() < 20  # without it, single black and white pixels would survive


@pytest.mark.parametrize(("resize", "crop"), [(249, 224), (256, 224), (32, 31)])
def test_the_centre_is_cropped(resize: int, crop: int):
    image = rectangle(resize, resize + 31)  # the short side is right already: only the crop acts
    ours = resize_and_crop(Geometry(resize, crop))(image)
    assert np.array_equal(ours.permute(1, 2, 0).numpy(), by_pillow(image, Geometry(resize, crop)))


def test_a_crop_beyond_the_image_has_black_borders_round_the_centre():
    image = np.full((20, 20, 3), 200, np.uint8)
    ours = resize_and_crop(Geometry(20, 28))(image)
    assert torch.equal(ours, F.pad(torch.full((3, 20, 20), 200, dtype=torch.uint8), [4, 4, 4, 4]))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_an_image_of_the_right_size_is_left_alone(interpolation: str):
    image = picture(0, size=224)
    ours = resize_and_crop(Geometry(224, 224, interpolation))(image)  # type: ignore[arg-type]
    assert np.array_equal(ours.permute(1, 2, 0).numpy(), image)


def test_views_and_read_only_images_are_taken():
    image = picture(0, size=64)
    flipped = image[:, ::-1]
    flipped.flags.writeable = False
    transform = resize_and_crop(Geometry(64, 64))
    assert torch.equal(transform(flipped), transform(image).flip(-1))


def test_survives_pickling_for_loader_workers():
    transform, image = resize_and_crop(Geometry(40, 32, "bicubic")), rectangle(50, 70)
    assert torch.equal(pickle.loads(pickle.dumps(transform))(image), transform(image))


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (10, 641)])
def test_a_strip_is_refused_before_it_is_enlarged_to_gigabytes(shape):
    with pytest.raises(EvaError, match="factor of 64 at most, but got"):
        resize_and_crop(Geometry(224, 224))(np.zeros((*shape, 3), np.uint8))


def test_read_only_pixels_are_read_without_a_warning():
    image = picture(0)
    image.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resize_and_crop(Geometry(32, 32))(image).shape == (3, 32, 32)
