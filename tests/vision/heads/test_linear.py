import pytest
import torch

from eva_vision.heads.linear import Linear
from eva_vision.heads.mlp import Mlp


@pytest.mark.parametrize("head", [Linear(), Mlp(hidden=6)], ids=["linear", "mlp"])
def test_forward_takes_one_run_or_a_stack(head: Linear | Mlp) -> None:
    runs = [head.parameters(10, 3, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    stack = {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
    x = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(2))
    expected = torch.stack([head.logits(run, x[i]) for i, run in enumerate(runs)])
    torch.testing.assert_close(head.forward(stack, x), expected)
