import numpy as np
import torch

from eva_pretrain.losses.feature_distance import feature_distance


def test_it_is_one_minus_the_cosine_in_float64():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 4, 6)), rng.normal(size=(3, 4, 6))
    cosines = (x * y).sum(2) / np.linalg.norm(x, axis=2) / np.linalg.norm(y, axis=2)
    found = feature_distance(torch.from_numpy(x), torch.from_numpy(y)).item()
    np.testing.assert_allclose(found, 1 - cosines.mean(), rtol=1e-5)


def test_it_is_float32_under_autocast_and_finite_for_zeros():
    x = torch.randn(5, 7).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert feature_distance(x, x).dtype == torch.float32
    zeros = torch.zeros(2, 3, requires_grad=True)
    feature_distance(zeros, torch.ones(2, 3)).backward()
    assert zeros.grad.isfinite().all()
