"""The same architecture with random weights, as a null: what a score owes to training."""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eva_core.contracts.backbone import Backbone

RANDOM = "random_weights"
_IMAGES = 8


def with_random_weights(backbone: Backbone, seed: int) -> Backbone:
    """A copy of a model whose weights are drawn anew, whatever library built it.

    Weights of layers are normal with variance 2 / fan-in (He et al. 2015); biases are 0. Norms are reset, and where
    they keep statistics (batch norm), these are of images of noise: without any, the signal would fade or overflow.
    Other parameters, such as tokens and positions, are normal with their own deviation; scales of layers are kept.

    Args:
        backbone: Stays as it is.
        seed: Seed of the draws.
    """
    bare = copy.deepcopy(backbone).cpu().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in bare.modules():
            for name, parameter in module.named_parameters(recurse=False):
                _draw(module, name, parameter, generator)
        _calibrate(bare, generator)
    bare.name = f"{backbone.name}-{RANDOM}"
    bare.card = replace(
        backbone.card,
        trained_on="nothing",
        collections=(),
        training_ids=(),
        training_images=b"",
        source=f"none: random weights, seed {seed}",
    )
    bare.provenance = {}
    return bare


def _draw(module: nn.Module, name: str, parameter: Tensor, generator: torch.Generator) -> None:
    norm = "norm" in type(module).__name__.lower()
    if not parameter.is_floating_point():
        return
    if "bias" in name:
        parameter.zero_()
    elif norm:
        parameter.fill_(1)
    elif parameter.ndim > 1:
        layer = "weight" in name and not isinstance(module, nn.Embedding)
        fan_in = parameter[0].numel()
        deviation = (2 / fan_in) ** 0.5 if layer else float(parameter.double().std(correction=0))
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)


def _calibrate(bare: Backbone, generator: torch.Generator) -> None:
    """Set the statistics of batch norms from one pass over noise."""
    norms = [module for module in bare.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # the statistics of this batch alone
        module.train()
    side = bare.card.geometry.crop
    bare(torch.randn(_IMAGES, 3, side, side, generator=generator))
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum
        module.eval()
