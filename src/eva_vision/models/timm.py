"""Any timm architecture, with weights from timm, a hub or a file. Importing this needs neither timm nor torch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import eva_core
from eva_core.contracts.cards import ModelCard, card
from eva_core.errors import UsageError
from eva_core.hub.weight_files import HUB


@card(ModelCard(name="timm_model", source="timm, by --model.arch", licence="unknown"))
def timm_model(
    arch: str,
    checkpoint: str | None = None,
    pretrained: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | None = None,
    layer: int | None = None,
    checkpoint_key: str | None = None,
    **arch_args: Any,
) -> "eva_core.Backbone":
    """Any timm architecture: `--model timm_model --model.arch NAME`.

    Args:
        arch: A name that `timm.create_model` takes, `hf-hub:owner/name` included.
        checkpoint: A safetensors or torch file, `hf-hub:owner/name[@revision][/file]`, or the `https://...[#md5=...]`
            of a file. Without it, and not `pretrained`, the weights are random, from seed 0.
        pretrained: Load the weights that timm knows for `arch`.
        mean: Per-channel mean for pixels in 0-1; timm's own unless given.
        std: Per-channel standard deviation for pixels in 0-1; timm's own unless given.
        size: Side of the image that the network is for, a multiple of its patch; timm's own unless given.
        layer: The embedding is the mean over the feature map of this block or stage, counted from 0; the network's own
            pooling unless given.
        checkpoint_key: Which of several networks in the checkpoint, such as `model` or `student`; a moving average
            (`teacher`, `model_ema`) unless given.
        arch_args: Architecture arguments for timm, as `--model.dict_kwargs.depth 10` or under `dict_kwargs` in YAML.
            `mlp_layer` is a name in `timm.layers`.
    Raises:
        UsageError: timm does not know the architecture or an argument.
        EvaError: The weights cannot be had, or do not fit (names the keys).
    """
    if checkpoint is not None and pretrained:
        raise UsageError("Expected either a checkpoint or pretrained: true, but got both. Leave one out.")
    from eva_core.files.addresses import public_address
    from eva_vision.models.timm_backbone import build

    backbone = build(arch, pretrained, mean, std, size, arch_args, layer)
    if checkpoint is not None:
        backbone.load(checkpoint, checkpoint_key)
        # timm's licence is of its own weights
        backbone.card = replace(backbone.card, source=public_address(checkpoint), licence="unknown")
    elif not pretrained and not arch.startswith(HUB):
        source = "none: random weights from seed 0"
        backbone.card = replace(backbone.card, source=source, licence="unknown", trained_on="nothing", collections=())
    return backbone
