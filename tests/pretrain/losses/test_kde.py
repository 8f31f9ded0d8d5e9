import torch
from torch import Tensor
from torch.testing import assert_close

from eva_pretrain.losses.kde import kde

Arrays = dict[str, Tensor]


def test_value_and_gradient_equal_the_formula(dinov2: Arrays) -> None:
    x = dinov2["koleo_x"].clone().requires_grad_()
    loss = kde(x)
    loss.backward()
    assert_close(loss, dinov2["kde_formula_loss"], atol=1e-5, rtol=0)
    assert_close(x.grad, dinov2["kde_formula_grad"], atol=1e-5, rtol=0)


def test_minimising_it_spreads_embeddings() -> None:
    rng = torch.Generator().manual_seed(0)
    x = (1 + 0.3 * torch.randn(12, 6, generator=rng)).requires_grad_()
    before = cosine(x)
    optimizer = torch.optim.SGD([x], lr=1.0)
    for _ in range(100):
        optimizer.zero_grad()
        kde(x).backward()
        optimizer.step()
    assert before > 0.8
    assert cosine(x) < 0  # as far apart as it goes: -1 / 11 for twelve


def test_duplicates_and_a_single_row_are_finite() -> None:
    for rows in (1, 4):
        x = torch.ones(rows, 8, requires_grad=True)
        loss = kde(x)
        loss.backward()
        assert_close(loss, torch.tensor(5.0) + torch.tensor(float(rows)).log())
        assert x.grad is not None
        assert_close(x.grad, torch.zeros_like(x))


def test_it_is_float32_under_autocast() -> None:
    x = torch.randn(5, 7)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = kde(x)
    assert_close(rounded, kde(x), atol=1e-6, rtol=0)


def cosine(x: Tensor) -> float:
    """Mean over pairs."""
    x = torch.nn.functional.normalize(x.detach(), dim=1)
    return ((x @ x.T).sum() - len(x)).item() / (len(x) * (len(x) - 1))
