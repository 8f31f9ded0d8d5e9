import numpy as np
import pytest
import torch
from PIL import Image

from eva_pretrain.losses.gram import gram_loss, resized_tokens


def direct(x: np.ndarray, y: np.ndarray) -> float:
    """The formula of the paper in float64, image by image, over the number of pairs."""
    x, y = (each / np.linalg.norm(each, axis=2, keepdims=True) for each in (x, y))
    norms = [np.linalg.norm(a @ a.T - b @ b.T, "fro") ** 2 for a, b in zip(x, y, strict=True)]
    return float(np.mean(norms)) / x.shape[1] ** 2


def test_it_is_the_frobenius_norm_in_float64():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 9, 8)), rng.normal(size=(3, 9, 5))
    found = gram_loss(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(found.item(), direct(x, y), rtol=1e-5)


def test_its_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(1, 4, 3)), rng.normal(size=(1, 4, 3))
    student = torch.from_numpy(x).requires_grad_()
    gram_loss(student, torch.from_numpy(y)).backward()
    for place in ((0, 1, 2), (0, 3, 0)):
        more, less = x.copy(), x.copy()
        more[place] += 1e-4
        less[place] -= 1e-4
        np.testing.assert_allclose(
            student.grad[place], (direct(more, y) - direct(less, y)) / 2e-4, rtol=1e-3, atol=1e-6
        )


def test_rotations_and_scales_of_all_tokens_are_free():
    rng = torch.Generator().manual_seed(0)
    x, turn = torch.randn(2, 6, 4, generator=rng), torch.linalg.qr(torch.randn(4, 4, generator=rng))[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert gram_loss(x, 7 * x @ turn.to(x.dtype)) < 1e-4


def as_pillow_resizes(tokens: np.ndarray, grid: tuple[int, int], wanted: tuple[int, int]) -> np.ndarray:
    """Tokens (N, h * w, D) as maps, each feature of which Pillow resizes, (N, h' * w', D)."""
    maps = tokens.reshape(len(tokens), *grid, -1).transpose(0, 3, 1, 2)
    resized = [
        [Image.fromarray(one.astype(np.float32)).resize(wanted[::-1], Image.Resampling.BICUBIC) for one in image]
        for image in maps
    ]
    return np.array(resized, np.float64).reshape(*maps.shape[:2], -1).transpose(0, 2, 1)


@pytest.mark.parametrize("grid", [(8, 6), (12, 9)])  # twice, and three times
def test_tokens_of_larger_images_are_compared_as_pillow_resizes_their_map(grid: tuple[int, int]):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 12, 8)), rng.normal(size=(2, grid[0] * grid[1], 5))
    resized = resized_tokens(torch.from_numpy(y), grid, (4, 3))
    np.testing.assert_allclose(resized, as_pillow_resizes(y, grid, (4, 3)), atol=1e-5)
    found = gram_loss(torch.from_numpy(x), resized)
    np.testing.assert_allclose(found.item(), direct(x, as_pillow_resizes(y, grid, (4, 3))), rtol=1e-5)


def test_tokens_of_the_same_grid_stay_as_they_are():
    y = torch.randn(2, 6, 3, dtype=torch.bfloat16)
    assert resized_tokens(y, (2, 3), (2, 3)) is y
