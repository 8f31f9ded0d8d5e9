import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eva_pretrain.monitor.measures import entropy, feature_std, off_diagonal_correlation, rankme


def embeddings(n: int = 200, d: int = 12, seed: int = 0) -> torch.Tensor:
    """Correlated, of unequal scales, off centre."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, d, generator=generator) @ torch.randn(d, d, generator=generator)
    return mixed * torch.logspace(-2, 2, d) + 3


@pytest.mark.parametrize("shape", [(200, 12), (5, 12)])
def test_rankme_is_that_of_numpy(shape: tuple[int, int]):
    x = embeddings(*shape)
    values = np.linalg.svd(x.double().numpy(), compute_uv=False)
    p = values / values.sum() + 1e-7
    assert rankme(x) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-9)


def test_rankme_counts_directions():
    q, _ = torch.linalg.qr(torch.randn(100, 8, generator=torch.Generator().manual_seed(0)))
    assert rankme(q) == pytest.approx(8, rel=1e-3)
    assert rankme(q[:, :3] @ torch.randn(3, 8, generator=torch.Generator().manual_seed(1))) < 3.01
    assert rankme(torch.ones(100, 8)) == pytest.approx(1, abs=1e-4)
    assert rankme(torch.zeros(100, 8)) == pytest.approx(1, abs=1e-4)


def test_correlation_is_that_of_numpy():
    x = embeddings()
    r = np.corrcoef(x.double().numpy().T)[~np.eye(12, dtype=bool)]
    absolute, squared = off_diagonal_correlation(x)
    assert absolute == pytest.approx(np.abs(r).mean(), rel=1e-9)
    assert squared == pytest.approx(np.log((r**2).mean()), rel=1e-9)


def test_constant_dimensions_are_left_out_of_the_correlation():
    x = embeddings()
    with_constants = torch.cat([x[:, :5], torch.full((200, 1), 0.1), x[:, 5:], torch.zeros(200, 1)], dim=1)
    assert off_diagonal_correlation(with_constants) == pytest.approx(off_diagonal_correlation(x))


def test_a_collapse_has_no_correlation():
    assert all(math.isnan(value) for value in off_diagonal_correlation(torch.full((50, 6), 0.3)))


def test_dimensions_that_repeat_each_other_and_some_that_do_not():
    one = torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    assert off_diagonal_correlation(torch.cat([one, -2 * one], dim=1)) == pytest.approx((1, 0))
    crossed = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert off_diagonal_correlation(crossed) == (0, -math.inf)


def test_independent_dimensions_depend_on_the_number_of_samples_as_the_docstring_says():
    x = torch.randn(400, 40, generator=torch.Generator().manual_seed(0))
    assert off_diagonal_correlation(x)[0] == pytest.approx(math.sqrt(2 / (math.pi * 400)), rel=0.05)


def test_entropy_in_nats():
    assert entropy(torch.full((3, 16), 1 / 16)) == pytest.approx(math.log(16))
    assert entropy(torch.eye(4)) == 0
    p = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).softmax(1)
    expected = -(p.double() * p.double().log()).sum(1).mean()
    assert entropy(p.bfloat16()) == pytest.approx(expected.item(), rel=2e-2)
    assert entropy(p) == pytest.approx(expected.item(), rel=1e-6)


def test_feature_std_is_0_for_a_collapse_and_1_over_root_d_on_the_sphere():
    x = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert feature_std(x) == pytest.approx(1 / 8, rel=0.01)
    assert feature_std(x * torch.rand(4000, 1, generator=torch.Generator().manual_seed(1))) == pytest.approx(
        feature_std(x)
    )
    assert feature_std(torch.rand(50, 1, generator=torch.Generator().manual_seed(2)) * torch.ones(64)) < 1e-7


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_told_as_nan(bad: float):
    x = embeddings()
    x[3, 4] = bad
    for value in (rankme(x), *off_diagonal_correlation(x), feature_std(x)):
        assert math.isnan(value)


def test_gradients_and_half_precision_are_taken_as_they_come():
    x = F.normalize(embeddings()).requires_grad_()
    assert rankme(x.bfloat16()) == pytest.approx(rankme(x), rel=0.05)
