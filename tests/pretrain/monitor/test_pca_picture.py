import math

import numpy as np
import pytest
import torch

from eva_pretrain.monitor.pca_picture import pca_picture


def inputs(n: int = 3, d: int = 16, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, side, side), generator=generator, dtype=torch.uint8)
    return images, torch.randn(n, d, 4, 4, generator=generator) * torch.logspace(0, -1, d)[:, None, None] + 5


def test_images_above_and_colours_below_in_columns():
    images, maps = inputs()
    picture = pca_picture(images, maps)
    assert picture.shape == (64, 96, 3)
    assert picture.dtype == np.uint8
    for n in range(3):
        np.testing.assert_array_equal(picture[:32, 32 * n : 32 * n + 32], images[n].permute(1, 2, 0).numpy())
    cells = picture[32:].reshape(4, 8, 12, 8, 3)
    assert (cells == cells[:, :1, :, :1]).all()  # nearest: every cell is one colour


def test_colours_are_the_first_components_of_an_independent_pca():
    images, maps = inputs()
    colours = pca_picture(images, maps)[32::8, ::8].reshape(4, 3, 4, 3).transpose(1, 0, 2, 3).reshape(48, 3)
    tokens = maps.permute(0, 2, 3, 1).reshape(48, -1).double().numpy()
    centred = tokens - tokens.mean(0)
    _, _, vectors = np.linalg.svd(centred, full_matrices=False)
    for channel in range(3):
        vector = vectors[channel] * np.sign(vectors[channel][np.abs(vectors[channel]).argmax()])
        found = centred @ vector
        low, high = np.quantile(found, [0.01, 0.99])
        expected = np.clip((found - low) / (high - low), 0, 1) * 255
        np.testing.assert_allclose(colours[:, channel], expected, atol=0.51)


def test_an_outlier_does_not_wash_out_the_others():
    images, maps = inputs(n=20)
    maps[0, :, 0, 0] *= 100
    assert pca_picture(images, maps)[32:, 32:].std() > 40


@pytest.mark.parametrize("value", [0.7, math.nan])
def test_a_collapse_and_broken_features_are_grey(value: float):
    images, maps = inputs()
    assert (pca_picture(images, torch.full_like(maps, value))[32:] == 128).all()


def test_two_dimensions_leave_the_third_colour_grey():
    images, maps = inputs(d=2)
    picture = pca_picture(images, maps)[32:]
    assert (picture[..., 2] == 128).all()
    assert picture[..., :2].std() > 40
