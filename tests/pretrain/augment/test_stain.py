"""Stain jitter: the three units, and how far it moves tissue and glass."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from eva_pretrain.augment.stain import draw_stain, jitter_stain
from eva_vision.synthetic.patches import CLASSES, phantom_patch, random_stain

CPU = torch.device("cpu")
SPACES = ("od", "tellez", "skimage")


def plain(*rgb: float) -> torch.Tensor:
    return torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 4, 4) / 255


@pytest.mark.parametrize(
    ("space", "expected"), [("od", (214, 152, 189)), ("tellez", (190, 97, 159)), ("skimage", (114, 36, 89))]
)
def test_the_same_shift_does_what_is_published_of_it(space, expected):
    """A stated case: 0.05 on all three stains of stroma."""
    changed = jitter_stain(plain(225, 170, 200), torch.ones(1, 3), torch.full((1, 3), 0.05), space)
    torch.testing.assert_close(255 * changed, 255 * plain(*expected), atol=1, rtol=0)


@pytest.mark.parametrize("space", SPACES)
def test_without_a_strength_nothing_moves(space):
    images = 0.02 + 0.98 * torch.rand(2, 3, 6, 6)
    if space == "skimage":  # which has no stain below 0
        images = plain(225, 170, 200)
    unchanged = jitter_stain(images, torch.ones(len(images), 3), torch.zeros(len(images), 3), space)
    torch.testing.assert_close(unchanged, images, atol=2e-5, rtol=0)


def test_a_gain_scales_one_stain_alone():
    """Two stains mixed by the law of Beer and Lambert; 2 on the second doubles its amount."""
    haematoxylin, eosin = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
    mixed, doubled = (np.exp(-0.6 * haematoxylin - e * eosin) * 255 for e in (0.3, 0.6))
    changed = jitter_stain(plain(*mixed), torch.tensor([[1.0, 2.0, 1.0]]), torch.zeros(1, 3))
    torch.testing.assert_close(changed, plain(*doubled))


@pytest.mark.parametrize("space", SPACES)
def test_black_white_and_strong_jitter_stay_finite_and_in_range(space):
    images = torch.cat([plain(0, 0, 0), plain(255, 255, 255), plain(0, 255, 0)])
    drawn = draw_stain(3, 0.9, space, torch.Generator().manual_seed(0), CPU)
    changed = jitter_stain(images, *drawn, space)
    assert (changed >= 0).all()  # false of NaN too
    assert (changed <= 1).all()


def test_glass_is_not_shifted_and_tissue_fully():
    colours = torch.cat([plain(222, 222, 222), plain(208, 208, 208), plain(195, 190, 195)])
    shift = torch.tensor([[0.1, 0.1, 0.0]]).expand(3, 3)
    changed = jitter_stain(colours, torch.ones(3, 3), shift)
    density = (colours / changed).log()[:, :, 0, 0]
    full = torch.tensor([0.072, 0.169, 0.040])  # a tenth of the sum of both stains
    torch.testing.assert_close(density[0], torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(density[2], full, atol=1e-5, rtol=0)
    mean = -math.log(208 / 255)  # between the two: a part of it
    torch.testing.assert_close(density[1], full * (mean - 0.15) / 0.1, atol=1e-5, rtol=0)


def test_draws_are_uniform_and_leave_the_third_stain_unshifted():
    alpha, beta = draw_stain(20_000, 0.2, "od", torch.Generator().manual_seed(0), CPU)
    for drawn, low, high in ((alpha, 0.8, 1.2), (beta[:, :2], -0.2, 0.2)):
        assert drawn.min().item() == pytest.approx(low, abs=0.001)
        assert drawn.max().item() == pytest.approx(high, abs=0.001)
        assert drawn.mean().item() == pytest.approx((low + high) / 2, abs=0.005)
    assert (beta[:, 2] == 0).all()
    assert (draw_stain(9, 0.2, "tellez", None, CPU).beta[:, 2] != 0).all()


def shifts(patches: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels of the change in grey levels, at sigma 0.05: (B draws, 3)."""
    drawn = draw_stain(len(patches), 0.05, "od", torch.Generator().manual_seed(0), CPU)
    return 255 * (jitter_stain(patches, *drawn) - patches).mean((2, 3))


def test_light_jitter_moves_tissue_by_12_grey_levels_at_most_and_glass_by_2():
    patches = np.stack(
        [
            phantom_patch(
                seed % len(CLASSES), np.random.default_rng(seed), random_stain(np.random.default_rng(seed)), 64
            )
            for seed in range(64)
        ]
    )
    tissue = shifts(torch.from_numpy(patches).permute(0, 3, 1, 2) / 255)
    assert 1 < tissue.abs().max() < 12  # it does something
    for rgb in ((255, 255, 255), (243, 240, 244), (232, 228, 233)):
        assert shifts(plain(*rgb).repeat(500, 1, 1, 1)).abs().max() < 2


@pytest.mark.real_data
def test_light_jitter_of_a_real_tile(real_data):
    tile = Image.open(real_data / "tissue_tiles" / "tissue-level0-4302-10273-4814-10785.png").convert("RGB")
    patch = torch.from_numpy(np.array(tile)[:256, :256]).permute(2, 0, 1)[None] / 255
    assert 1 < shifts(patch.repeat(32, 1, 1, 1)).abs().max() < 12
