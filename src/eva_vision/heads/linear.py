"""One linear layer."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from eva_core.classification.gradient_head import GradientHead, loss_gradient, per_run


class Linear(GradientHead):
    """Logits x W^T + b, as by `nn.Linear`."""

    @override
    def parameters(self, in_features: int, outputs: int, generator: torch.Generator) -> dict[str, Tensor]:
        weight, bias = linear_layer(in_features, outputs, generator)
        return {"weight": weight, "bias": bias}

    @override
    def forward(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        return x @ params["weight"].mT + params["bias"].unsqueeze(-2)

    @override
    def gradients(self, params: dict[str, Tensor], x: Tensor, targets: Tensor, out: dict[str, Tensor]) -> None:
        """Write the gradients in closed form, for all runs at once: here autograd costs more than the arithmetic."""
        runs, batch, _ = x.shape
        logits = per_run(
            runs, targets.shape[-1], batch, device=x.device
        )  # (R, K, B): a softmax across rows is several times faster
        torch.baddbmm(params["bias"].unsqueeze(-1), params["weight"], x.mT, out=logits)
        slope = logits.copy_(loss_gradient(logits, targets.mT, dim=-2))  # aligned like the logits
        torch.bmm(slope, x, out=out["weight"])
        torch.sum(slope, dim=-1, out=out["bias"])


def linear_layer(in_features: int, outputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Weight (outputs, in_features) and bias (outputs,) as `nn.Linear` initialises them."""
    weight = torch.empty(outputs, in_features)
    nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
    bound = in_features**-0.5
    return weight, torch.empty(outputs).uniform_(-bound, bound, generator=generator)
