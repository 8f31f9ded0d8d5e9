"""The baselines: six colour numbers, and a network that has learnt nothing."""

import numpy as np
import pytest
import torch

from eva_core.registry import build_model
from eva_vision.models.baselines import colour_stats, random_vits16
from eva_vision.models.timm import timm_model
from tests.conftest import picture


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Pixels in 0-1, (2, 3, 48, 32)."""
    pixels = np.stack([picture(seed, size=48)[:, :32] for seed in range(2)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255


def by_numpy(pixels: torch.Tensor) -> np.ndarray:
    """(3, H, W) -> mean and population standard deviation of each channel, in float64."""
    values = pixels.numpy().astype(np.float64).reshape(3, -1)
    return np.concatenate([values.mean(1), values.std(1)])


def test_colour_stats_are_numpy_s_mean_and_std(images: torch.Tensor):
    expected = np.stack([by_numpy(image) for image in images])
    assert colour_stats()(images).numpy() == pytest.approx(expected, abs=1e-6)


def test_colour_stats_take_pixels_as_they_are():
    card = colour_stats().card
    pixels = torch.rand(3, 1, 1)
    assert torch.equal((pixels - torch.tensor(card.mean).view(3, 1, 1)) / torch.tensor(card.std).view(3, 1, 1), pixels)


def test_colour_map_holds_the_statistics_of_each_cell(images: torch.Tensor):
    dense = colour_stats().feature_map(images)
    assert dense.shape == (2, 6, 3, 2)
    for row in range(3):
        for column in range(2):
            cell = images[1, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            assert dense[1, :, row, column].numpy() == pytest.approx(by_numpy(cell), abs=1e-5)


def test_one_colour_has_no_spread():
    flat = torch.full((1, 3, 32, 32), 0.7)
    assert colour_stats()(flat)[0, 3:].tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert torch.isfinite(colour_stats().feature_map(flat)).all()


def test_random_vit_has_the_depth_asked_for():
    shallow = random_vits16(depth=2)
    assert len(shallow.network.blocks) == 2  # type: ignore[union-attr, arg-type]
    assert shallow(torch.zeros(1, 3, 32, 32)).shape == (1, 384)


def test_random_vit_is_the_architecture_with_seed_0():
    ours, same = random_vits16(depth=1).state_dict(), timm_model("vit_small_patch16_224", depth=1).state_dict()
    assert ours.keys() == same.keys()
    assert all(torch.equal(ours[name], same[name]) for name in ours)


def test_depth_is_part_of_the_identity():
    built = [build_model("random_vits16", depth=depth) for depth in (1, 2)]
    assert built[0].name == built[1].name == "random_vits16"
    assert built[0].arguments != built[1].arguments
