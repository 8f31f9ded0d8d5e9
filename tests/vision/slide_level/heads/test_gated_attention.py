import pytest
import torch
from torch import Tensor, nn

from eva_vision.slide_level.heads.abmil import Abmil
from eva_vision.slide_level.heads.gated_attention import PIECE, GatedAttention

D = 16


def by_autograd(params: dict[str, Tensor], x: Tensor) -> Tensor:
    """The pooled bag, by the formula."""

    def layer(name: str, z: Tensor) -> Tensor:
        return nn.functional.linear(z, params[f"{name}.weight"], params[f"{name}.bias"])

    h = layer("project", x)
    scores = layer("attend", layer("value", h).tanh() * layer("gate", h).sigmoid())
    return (scores.softmax(0) * h).sum(0)


@pytest.mark.parametrize("counts", [[5, 1, 7], [PIECE + 9, 3, PIECE, 1, 2, PIECE - 2], [1], [300] * 5])
def test_pools_and_gradients_are_those_of_autograd(counts: list[int]):
    torch.manual_seed(0)
    params = Abmil(24, 5).parameters(D, 2)
    names = [name for name in params if not name.startswith(("hidden", "classify"))]
    bags = [torch.randn(n, D) for n in counts]
    leaves = {name: params[name].clone().requires_grad_() for name in names}
    expected = torch.stack([by_autograd(leaves, bag) for bag in bags])
    slope = torch.randn(expected.shape)
    by_torch = torch.autograd.grad((expected * slope).sum(), [leaves[name] for name in names])
    attention, out = GatedAttention(), {name: torch.full_like(params[name], 7) for name in params}
    for _ in range(2):  # what it keeps from one step does not reach the next
        with torch.no_grad():
            assert torch.allclose(attention.pool(params, bags), expected, atol=1e-6)
            attention.gradients(params, bags, slope, out)
        for name, gradient in zip(names, by_torch, strict=True):
            assert torch.allclose(out[name], gradient, atol=2e-5, rtol=1e-4), name
    assert (out["attend.bias"] == 0).all()  # softmax ignores it; autograd finds noise, which AdamW would make steps of


def test_half_precision_is_taken_as_the_numbers_that_it_holds():
    torch.manual_seed(0)
    params = Abmil(8, 5).parameters(D, 2)
    bags = [torch.randn(n, D).half() for n in (3, 1500, 4)]
    pooled = GatedAttention().pool(params, bags)
    assert torch.equal(pooled, GatedAttention().pool(params, [bag.float() for bag in bags]))


def test_where_patches_lie_in_memory_changes_no_bit():
    torch.manual_seed(0)
    params = Abmil().parameters(6, 1)
    x = torch.randn(PIECE + 50, 6)
    inside = torch.randn(PIECE + 60, 6)
    inside[3:-7] = x
    assert torch.equal(GatedAttention().pool(params, [inside[3:-7]]), GatedAttention().pool(params, [x]))
