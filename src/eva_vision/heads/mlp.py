"""A perceptron with one hidden layer."""

import torch
from torch import Tensor
from typing_extensions import override

from eva_core.classification.gradient_head import GradientHead
from eva_core.errors import refuse
from eva_vision.heads.linear import linear_layer


class Mlp(GradientHead):
    """Linear, ReLU, linear.

    Args:
        hidden: Width of the hidden layer.
    """

    def __init__(self, hidden: int = 256) -> None:
        refuse((hidden < 1, "argument hidden of at least 1", hidden))
        self.hidden = hidden

    @override
    def parameters(self, in_features: int, outputs: int, generator: torch.Generator) -> dict[str, Tensor]:
        weight1, bias1 = linear_layer(in_features, self.hidden, generator)
        weight2, bias2 = linear_layer(self.hidden, outputs, generator)
        return {"weight1": weight1, "bias1": bias1, "weight2": weight2, "bias2": bias2}

    @override
    def forward(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        hidden = torch.relu(x @ params["weight1"].mT + params["bias1"].unsqueeze(-2))
        return hidden @ params["weight2"].mT + params["bias2"].unsqueeze(-2)
