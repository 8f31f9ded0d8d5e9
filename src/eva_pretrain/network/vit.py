"""ViT of timm as student and teacher: tokens at any image size, and a mask token for hidden patches."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple, cast

import timm
import torch
import torch.nn.functional as F
from timm.layers.drop import DropPath
from timm.models import VisionTransformer, checkpoint_seq, is_model_in_modules
from timm.models.eva import Eva
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eva_core.errors import UsageError, refuse
from eva_vision.models.timm_backbone import layer_arguments


class Tokens(NamedTuple):
    """Normalised outputs of a ViT.

    Attributes:
        cls: Class tokens, (N, D).
        patches: Patch tokens, (N, h * w, D), row by row.
    """

    cls: Tensor
    patches: Tensor


@dataclass(frozen=True)
class Architecture:
    """Network that is trained.

    Attributes:
        arch: Name of a ViT of timm, with learned positions (`vit_small_patch16_224`) or rotary ones (RoPE:
            `vit_small_patch16_dinov3`).
        size: Side of the images in pixels, for which the position embedding and the export are made.
        arguments: Arguments of timm, such as `reg_tokens: 4`, `init_values: 1.0e-5`, `depth: 4`; `mlp_layer` by name.
            Rotary positions are jittered as in DINOv3 by `rope_rescale_coords: 2.0`, in training only.
        start: Initial weights: a name of `eva models`, of a pretrained network of timm, `hf-hub:owner/name`, a file, or
            the folder of an export; none: random.
        drop_path: Stochastic depth of the student: rate of the last block, growing from 0 (DINO 0.1).
        drop_path_everywhere: Use the same rate in every block (DINOv2: 0.3 or 0.4).
        official_positions: Resize the position embedding as the official DINO and DINOv2 do, in place of timm's way.
        checkpointing: Compute activations again in the backward pass: a third more time, a fraction of the memory.
        compile: Compile the blocks with `torch.compile`.
    """

    arch: str = "vit_small_patch16_224"
    size: int = 224
    arguments: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    drop_path: float = 0.0
    drop_path_everywhere: bool = False
    official_positions: bool = False
    checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        refuse((not 0 <= self.drop_path < 1, "drop_path of at least 0 and below 1", self.drop_path), where="vit")

    def timm_arguments(self) -> dict[str, Any]:
        """Arguments by which timm builds the same network again, as JSON holds them."""
        # else timm ends a ViT of this family with a mean over patches, and has no norm for the class token
        token = {"global_pool": "token"} if is_model_in_modules(self.arch, ["eva"]) else {}
        return {"img_size": self.size, "dynamic_img_size": True, **token, **self.arguments}


class Vit(nn.Module):
    """ViT of timm that gives class and patch tokens.

    Attributes:
        network: The network of timm, under timm's names.
        mask_token: Token of a hidden patch, (1, D); None without masks.
        official_positions: Whether the position embedding is resized as the official DINO and DINOv2 do.
    """

    network: VisionTransformer | Eva

    def __init__(self, architecture: Architecture, student: bool, masked: bool) -> None:
        """Build the network with random weights from torch's global generator.

        Args:
            architecture: The settings.
            student: Build the student, with stochastic depth and activation checkpointing.
            masked: Add a mask token.

        Raises:
            UsageError: timm has no such ViT, or it has no class token, or the size is not a multiple of its patch.
        """
        super().__init__()
        self.network = _create(architecture, architecture.drop_path if student else 0.0)
        if student and architecture.drop_path and architecture.drop_path_everywhere:
            for block in self.network.blocks:
                block.drop_path1, block.drop_path2 = (DropPath(architecture.drop_path) for _ in range(2))
        self.mask_token = nn.Parameter(torch.zeros(1, self.network.embed_dim)) if masked else None
        self.official_positions = architecture.official_positions
        self._resizing: dict[tuple[tuple[int, int], torch.device], Tensor] = {}
        self._turning: dict[tuple[tuple[int, int], torch.device], Tensor] = {}
        if student:
            self.network.set_grad_checkpointing(architecture.checkpointing)
        if architecture.compile:
            # a graph for each rate of drop path, size of crop, and with or without gradients; dynamo stops at 8
            dynamo = import_module("torch._dynamo").config
            dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * len(self.network.blocks))
            for block in self.network.blocks:
                block.compile()

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.network.embed_dim

    def grid(self, size: int) -> tuple[int, int]:
        """Count the rows and columns of patch tokens of a square image of `size` pixels."""
        grid: tuple[int, int] = self.network.patch_embed.dynamic_feat_size((size, size))
        return grid

    def forward(self, images: Tensor, masks: Tensor | None = None) -> Tokens:
        """Compute the tokens of images.

        Args:
            images: Normalised images, (N, 3, H, W).
            masks: True where a patch is hidden, bool (N, h * w).
        """
        network = self.network
        x = network.patch_embed(images)  # (N, h, w, D)
        if masks is not None and self.mask_token is not None:
            x = torch.where(masks.view(*x.shape[:3], 1), self.mask_token.to(x.dtype), x)
        grid = (x.shape[1], x.shape[2])
        x = network.norm(self._through_blocks(network.norm_pre(self._with_positions(x)), grid))
        return Tokens(x[:, 0], x[:, network.num_prefix_tokens :])

    def _through_blocks(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Pass tokens (N, prefix + h * w, D) through all blocks, which turn them by rotary positions if they have."""
        network = self.network
        if isinstance(network, VisionTransformer):
            x = checkpoint_seq(network.blocks, x) if network.grad_checkpointing else network.blocks(x)
            return x
        for block, rope in zip(network.blocks, self._rotations(grid, x.device), strict=True):
            if network.grad_checkpointing:
                x = checkpoint(block, x, rope=rope, use_reentrant=False)
            else:
                x = block(x, rope=rope)
        return x

    def _rotations(self, grid: tuple[int, int], device: torch.device) -> Iterable[Tensor | None]:
        """Rotary positions of each block, made once for a device where they are neither learned nor jittered."""
        rope: Any = self.network.rope
        depth = len(self.network.blocks)
        if rope is None:
            return [None] * depth
        if self.network.rope_mixed:  # learned, for each block
            return cast("Tensor", rope.get_embed(shape=grid))
        if self.training and rope.aug_active:
            return [rope.get_embed(shape=grid)] * depth
        key = (grid, device)
        if key not in self._turning:
            with torch.inference_mode(False):  # else no gradient could pass them later
                self._turning[key] = rope.get_embed(shape=grid)
        return [self._turning[key]] * depth

    def _with_positions(self, x: Tensor) -> Tensor:
        """Add positions and special tokens to patch tokens: (N, h, w, D) -> (N, prefix + h * w, D)."""
        network, grid = self.network, (x.shape[1], x.shape[2])
        prefix = 0 if network.no_embed_class else network.num_prefix_tokens
        x = x.flatten(1, 2)
        special = [t.expand(len(x), -1, -1) for t in (network.cls_token, network.reg_token) if t is not None]
        if network.pos_embed is None:  # rotary alone
            return torch.cat([*special, x], dim=1)
        positions: Tensor = network.pos_embed
        if grid != network.patch_embed.grid_size:
            positions = resized_positions(positions, self._weights(grid, positions.device), prefix)
        if network.no_embed_class:
            return torch.cat([*special, x + positions], dim=1)
        return torch.cat([*special, x], dim=1) + positions

    def _weights(self, grid: tuple[int, int], device: torch.device) -> Tensor:
        """Weights that resize the position embedding to a grid, made once for a device."""
        key = (grid, device)
        if key not in self._resizing:
            offset = 0.1 if self.official_positions else None
            with torch.inference_mode(False):  # else no gradient could pass them later
                weights = resizing_weights(self.network.patch_embed.grid_size, grid, offset)
                self._resizing[key] = weights.to(device)
        return self._resizing[key]


def resized_positions(positions: Tensor, weights: Tensor, prefix: int) -> Tensor:
    """Resize position embeddings, (1, prefix + n, D) -> (1, prefix + m, D), by weights (m, n).

    This is a product and not an interpolation, whose gradient on a GPU is summed in another order every time, so that
    no run could resume exactly.

    Args:
        positions: Position embeddings, the prefix first, (1, prefix + n, D).
        weights: Weights from `resizing_weights`, (m, n).
        prefix: Number of tokens before those of the patches.
    """
    with torch.autocast(positions.device.type, enabled=False):
        grid = weights @ positions[:, prefix:].float()
    return torch.cat([positions[:, :prefix], grid.to(positions.dtype)], dim=1)


def resizing_weights(before: tuple[int, int], after: tuple[int, int], offset: float | None) -> Tensor:
    """Compute the bicubic weight of each place of a grid in each place of another, (h' * w', h * w).

    Args:
        before: Rows and columns of the grid, (h, w).
        after: Rows and columns of the resized grid, (h', w').
        offset: None: antialiased, as timm resizes. Else not antialiased, by the scale (after + offset) / before, as
            `interpolate_pos_encoding` of DINO and DINOv2 does with 0.1.

    Examples:
        >>> weights = resizing_weights((14, 14), (7, 7), offset=None)
        >>> weights.shape, torch.allclose(weights.sum(1), torch.ones(49))
        (torch.Size([49, 196]), True)
    """
    each = torch.eye(before[0] * before[1]).view(-1, 1, *before)
    if offset is None:
        resized = F.interpolate(each, size=after, mode="bicubic", antialias=True)
    else:
        scale = tuple((new + offset) / old for new, old in zip(after, before, strict=True))
        resized = F.interpolate(each, scale_factor=scale, mode="bicubic", antialias=False)
    assert resized.shape[-2:] == after
    return resized.flatten(1).T.contiguous()


def _create(architecture: Architecture, drop_path: float) -> VisionTransformer | Eva:
    arch, arguments = architecture.arch, architecture.timm_arguments()
    if "." in arch or not timm.is_model(arch):
        raise UsageError(
            f"Expected arch to be a ViT of timm such as vit_small_patch16_224, but got {arch!r}. "
            "`timm.list_models('vit_*')` lists them; pretrained weights are named by start."
        )
    try:
        network: Any = timm.create_model(
            arch, num_classes=0, drop_path_rate=drop_path, **{**arguments, **layer_arguments(arguments)}
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise UsageError(
            f"timm cannot build {arch} ({' '.join(str(error).split())}). Check size and arguments."
        ) from error
    positions = [getattr(network, name, None) for name in ("pos_embed", "rope")]
    plain = isinstance(network, VisionTransformer | Eva) and not isinstance(network.norm, nn.Identity)
    if not plain or network.cls_token is None or all(part is None for part in positions):
        raise UsageError(
            f"Expected a plain ViT with a class token, positions (learned or rotary) and a last norm, but {arch} is "
            "none. Choose another arch."
        )
    patch = max(network.patch_embed.patch_size)
    if architecture.size % patch:
        raise UsageError(f"Expected size to be a multiple of the patch of {patch} px, but got {architecture.size}.")
    built: VisionTransformer | Eva = network
    return built
