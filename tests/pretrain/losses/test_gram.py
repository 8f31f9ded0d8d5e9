import numpy as np
import torch

from eva_pretrain.losses.gram import gram_loss


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
