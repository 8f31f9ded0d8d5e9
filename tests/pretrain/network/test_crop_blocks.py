from itertools import combinations

import pytest
import torch
from timm.models.eva import EvaBlock
from timm.models.vision_transformer import Block
from torch import nn

from eva_pretrain.network.crop_blocks import draw, kept_rows, residual, take_crops


def blocks(kind: str) -> nn.Sequential:
    torch.manual_seed(0)
    make = {"vit": lambda: Block(8, 2, init_values=0.5), "rotary": lambda: EvaBlock(8, 2, init_values=0.5)}[kind]
    return nn.Sequential(make())


@pytest.mark.parametrize("kind", ["vit", "rotary"])
def test_a_list_of_batches_has_the_tokens_of_timm(kind: str):
    plain, ours = blocks(kind), blocks(kind)
    assert take_crops(ours)
    batches = [torch.randn(3, 5, 8), torch.randn(2, 4, 8)]
    for ours_, x in zip(ours[0](batches), batches, strict=True):
        torch.testing.assert_close(ours_, plain[0](x))
        torch.testing.assert_close(ours[0](x), plain[0](x))


def test_the_expectation_of_a_dropped_branch_is_the_branch():
    """Over all ten subsets of three in five rows, which are as likely; of the output and of its gradient."""
    x, weight = torch.randn(5, 3, 2, requires_grad=True), torch.randn(2, 2)
    subsets = [torch.tensor(rows) for rows in combinations(range(5), 3)]
    mean = torch.stack([residual(x, lambda rows: (rows @ weight).sin(), rows) for rows in subsets]).mean(0)
    expected = residual(x, lambda rows: (rows @ weight).sin(), None)
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(*(torch.autograd.grad(out.square().sum(), x)[0] for out in (mean, expected)))


def test_factors_are_0_or_one_over_what_is_kept_and_1_on_average():
    torch.manual_seed(0)
    for rate, (attention, mlp) in zip((0.0, 0.4), draw(torch.tensor([0.0, 0.4]), 10_000, None), strict=True):
        assert attention.shape == (10_000, 1, 1)
        assert set(attention.unique().tolist()) <= {0.0, (1 / torch.tensor(1 - rate)).item()}
        assert attention.mean().item() == pytest.approx(1, abs=0.03)
        assert torch.equal(attention, mlp) == (rate == 0)


def test_a_subset_is_calculated_for_its_rows_alone_and_leaves_the_others():
    seen = []
    x = torch.arange(8.0).view(4, 2, 1)
    out = residual(x, lambda rows: seen.append(rows) or rows, torch.tensor([2, 0]))
    assert torch.equal(seen[0], x[[2, 0]])
    assert torch.equal(out, torch.cat([x[:1] * 3, x[1:2], x[2:3] * 3, x[3:]]))  # 1 + 4 / 2


def test_rows_are_drawn_evenly_and_once():
    torch.manual_seed(0)
    draws = [draw(torch.tensor([0.0, 0.5]), 6, [6, 3]) for _ in range(300)]
    assert all(len(set(rows.tolist())) == 6 for (rows, _), _ in draws)
    counts = torch.cat([rows for _, (rows, _) in draws]).bincount(minlength=6)
    assert counts.min() > 110  # 150 are expected
    assert any(not torch.equal(a, b) for _, (a, b) in draws)  # attention and MLP by themselves


@pytest.mark.parametrize(("n", "rate", "kept"), [(64, 0.4, 38), (10, 0.0, 10), (2, 0.9, 1)])
def test_how_many_rows_stay(n: int, rate: float, kept: int):
    assert kept_rows(n, rate) == kept


def test_the_sum_keeps_the_precision_of_the_tokens():
    x, fine = torch.ones(2, 1, 1), torch.full((2, 1, 1), 2.0**-12)
    assert torch.equal(residual(x, lambda rows: fine.bfloat16()[: len(rows)], torch.tensor([0, 1])), x + fine)
    assert residual(x.bfloat16(), lambda _: fine, None).dtype == torch.bfloat16


def test_other_blocks_take_none():
    assert not take_crops(nn.Sequential(nn.Linear(2, 2)))
