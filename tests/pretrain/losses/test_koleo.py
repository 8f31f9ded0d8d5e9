import torch
from torch import Tensor
from torch.testing import assert_close

from eva_pretrain.losses.koleo import koleo

Arrays = dict[str, Tensor]


def test_loss_and_gradient_equal_dinov2(dinov2: Arrays) -> None:
    x = dinov2["koleo_x"].clone().requires_grad_()
    loss = koleo(x)
    loss.backward()
    assert_close(loss, dinov2["koleo_loss"], atol=1e-5, rtol=0)
    assert_close(x.grad, dinov2["koleo_grad"], atol=1e-5, rtol=0)


def test_the_distance_is_that_to_the_reference_neighbours(dinov2: Arrays) -> None:
    x = torch.nn.functional.normalize(dinov2["koleo_x"].double(), dim=1)
    expected = -(x - x[dinov2["koleo_nn"]]).norm(dim=1).log().mean()
    assert_close(koleo(dinov2["koleo_x"]).double(), expected, atol=1e-5, rtol=0)


def test_duplicates_are_finite(dinov2: Arrays) -> None:
    x = dinov2["koleo_dup_x"].clone().requires_grad_()
    loss = koleo(x)
    loss.backward()
    assert_close(loss, dinov2["koleo_dup_loss"], atol=1e-5, rtol=0)
    assert x.grad is not None
    assert x.grad.isfinite().all()
    same = torch.ones(4, 8, requires_grad=True)
    loss = koleo(same)
    loss.backward()
    assert same.grad is not None
    assert loss.isfinite()
    assert same.grad.isfinite().all()


def test_a_single_row_has_no_neighbour() -> None:
    x = torch.randn(1, 8, requires_grad=True)
    loss = koleo(x)
    loss.backward()
    assert loss.item() == 0
    assert x.grad is not None
    assert not x.grad.any()


def test_minimising_it_spreads_embeddings() -> None:
    rng = torch.Generator().manual_seed(0)
    x = (1 + 0.1 * torch.randn(12, 6, generator=rng)).requires_grad_()
    before = nearest(x)
    optimizer = torch.optim.SGD([x], lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        koleo(x).backward()
        optimizer.step()
    assert nearest(x) > 4 * before


def test_it_is_float32_under_autocast() -> None:
    x = torch.randn(5, 7)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = koleo(x)
    assert_close(rounded, koleo(x), atol=1e-6, rtol=0)


def nearest(x: Tensor) -> float:
    x = torch.nn.functional.normalize(x.detach(), dim=1)
    return (torch.cdist(x, x) + 9 * torch.eye(len(x))).amin(1).mean().item()
