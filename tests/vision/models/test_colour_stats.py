import numpy as np
import pytest
import torch

from eva_core.contracts.cards import ModelCard
from eva_vision.models.colour_stats import ColourStats


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_six_numbers_an_image_are_those_of_numpy(images: torch.Tensor):
    found = ColourStats(ModelCard("colour_stats", dim=6))(images).numpy()
    pixels = images.numpy()
    expected = np.concatenate([pixels.mean((2, 3)), pixels.std((2, 3))], axis=1)
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_feature_map_has_the_six_numbers_of_each_cell(images: torch.Tensor):
    backbone = ColourStats(ModelCard("colour_stats", dim=6))
    found = backbone.feature_map(images)
    assert found.shape == (2, 6, 2, 3)
    for row, column in np.ndindex(2, 3):
        cell = images[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        torch.testing.assert_close(found[:, :, row, column], backbone(cell))
