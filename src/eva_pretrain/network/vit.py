"""ViT of timm as student and teacher: tokens at any image size, and a mask token for hidden patches."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast

import timm
import torch
import torch.nn.functional as F
from timm.models import VisionTransformer, is_model_in_modules
from timm.models.eva import Eva
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eva_core.errors import UsageError, refuse
from eva_pretrain.network.crop_blocks import Drawn, draw, kept_rows, take_crops
from eva_vision.models.timm_backbone import layer_arguments

_NO_EFFECT = {"drop_path_rate", "pos_drop_rate", "patch_drop_rate"}
"""Arguments of timm's own forward pass, which is not used here."""


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
        drop_path_subset: Calculate residual branches only for the crops that keep them, a fixed share of each batch
            (DINOv2): less work. Else each crop is dropped by a coin of its own.
        official_positions: Resize the position embedding as the official DINO and DINOv2 do, in place of timm's way.
        checkpointing: Compute activations again in the backward pass, of all blocks, or of this share of them: at most
            a third more time, a fraction of the memory.
        compile: Compile blocks, losses and targets with `torch.compile`; `auto`: on a GPU.
    """

    arch: str = "vit_small_patch16_224"
    size: int = 224
    arguments: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    drop_path: float = 0.0
    drop_path_everywhere: bool = False
    drop_path_subset: bool = False
    official_positions: bool = False
    checkpointing: bool | float = False
    compile: bool | Literal["auto"] = False

    def __post_init__(self) -> None:
        refuse(
            (self.start == "", "start as a name, a file or a folder", "''"),
            (not 0 <= self.drop_path < 1, "drop_path of at least 0 and below 1", self.drop_path),
            (not 0 <= self.checkpointing <= 1, "checkpointing from 0 to 1", self.checkpointing),
            (bool(lost := _NO_EFFECT & {*self.arguments}), "drop_path, as timm's rates have no effect", sorted(lost)),
            where="vit",
        )

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
    _rates: Tensor

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
        self.network = _create(architecture)
        if not take_crops(self.network.blocks):
            raise UsageError(f"Expected plain blocks of timm, but {architecture.arch} has others. Choose another arch.")
        depth = len(self.network.blocks)
        self.rates = block_rates(architecture, depth) if student else []
        self.subset = architecture.drop_path_subset
        self.register_buffer("_rates", torch.tensor(self.rates), persistent=False)
        self.mask_token = nn.Parameter(torch.zeros(1, self.network.embed_dim)) if masked else None
        self.official_positions = architecture.official_positions
        self._resizing: dict[tuple[tuple[int, int], torch.device], Tensor] = {}
        self._turning: dict[tuple[tuple[int, int], torch.device], Tensor] = {}
        share = float(architecture.checkpointing) if student else 0.0
        self._checkpointed = [int((i + 1) * share) > int(i * share) for i in range(depth)]
        self.compiled = False
        if architecture.compile is True:
            self.compile_blocks()

    def compile_blocks(self) -> None:
        """Compile the blocks when they are called first; all have the same graphs."""
        for block in self.network.blocks:
            block.compile(dynamic=False)  # a graph for each set of crops: those of other sizes are slower
        self.compiled = True

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.network.embed_dim

    def grid(self, size: int) -> tuple[int, int]:
        """Count the rows and columns of patch tokens of a square image of `size` pixels."""
        grid: tuple[int, int] = self.network.patch_embed.dynamic_feat_size((size, size))
        return grid

    def forward(self, images: Tensor, masks: Tensor | None = None, local: Tensor | None = None) -> Any:
        """Compute the tokens of images, and in the same pass those of smaller crops.

        One pass gathers the weights of a sharded network once, and has one graph where it is compiled.

        Args:
            images: Normalised images, (N, 3, H, W).
            masks: True where a patch of these is hidden, bool (N, h * w).
            local: Normalised images of another size, (M, 3, H', W'), M at least 1.

        Returns:
            `Tokens` of the images; with `local`, a pair of these and its own.
        """
        tokens = [self._embed(images, masks), *([] if local is None else [self._embed(local, None)])]
        size = self.network.patch_embed.dynamic_feat_size
        grids = [size((x.shape[2], x.shape[3])) for x in (images, local) if x is not None]
        passed = [self._tokens(x) for x in self._through_blocks(tokens, grids)]
        return passed[0] if local is None else (passed[0], passed[1])

    def _embed(self, images: Tensor, masks: Tensor | None) -> Tensor:
        """Make the first tokens of images, (N, prefix + h * w, D)."""
        x: Tensor = self.network.patch_embed(images)  # (N, h, w, D)
        if masks is not None and self.mask_token is not None:
            x = torch.where(masks.view(*x.shape[:3], 1), self.mask_token.to(x.dtype), x)
        # the sums of the blocks stay in float32: bf16 would win 1 % of a compiled step of L/14 on an H100
        x = self.network.norm_pre(self._with_positions(x))
        return x

    def _through_blocks(self, crops: list[Tensor], grids: list[tuple[int, int]]) -> list[Tensor]:
        """Pass the tokens of several batches through all blocks, each with its own draw and rotary positions."""
        network = self.network
        draws = zip(*[self._draw(len(x)) for x in crops], strict=True)
        ropes = zip(*[self._rotations(grid, crops[0].device) for grid in grids], strict=True)
        for block, again, drawn, rope in zip(network.blocks, self._checkpointed, draws, ropes, strict=True):
            given: dict[str, Any] = {"drawn": drawn, **({"ropes": rope} if isinstance(network, Eva) else {})}
            if again and torch.is_grad_enabled():
                crops = checkpoint(block, crops, **given, use_reentrant=False)
            else:
                crops = block(crops, **given)
        return crops

    def _draw(self, n: int) -> list[Drawn | None]:
        if not (self.training and self.rates):
            return [None] * len(self.network.blocks)
        return draw(self._rates, n, [kept_rows(n, rate) for rate in self.rates] if self.subset else None)

    def _tokens(self, x: Tensor) -> Tokens:
        x = self.network.norm(x)
        return Tokens(x[:, 0], x[:, self.network.num_prefix_tokens :])

    def _rotations(self, grid: tuple[int, int], device: torch.device) -> Iterable[Tensor | None]:
        """Rotary positions of each block, made once for a device where they are neither learned nor jittered."""
        rope: Any = getattr(self.network, "rope", None)
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


def block_rates(architecture: Architecture, depth: int) -> list[float]:
    """List the rate of drop path of each block of the student; none where it is 0."""
    rate = architecture.drop_path
    if not rate:
        return []
    return [rate if architecture.drop_path_everywhere else rate * i / max(1, depth - 1) for i in range(depth)]


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


def _close(arch: str) -> str:
    """Sentence that names architectures of timm with about this name."""
    close = difflib.get_close_matches(arch.partition(".")[0], timm.list_models(), n=3, cutoff=0.7)
    return f"Did you mean {' or '.join(close)}? " if close else ""


def _create(architecture: Architecture) -> VisionTransformer | Eva:
    arch, arguments = architecture.arch, architecture.timm_arguments()
    if "." in arch or not timm.is_model(arch):
        raise UsageError(
            f"Expected arch to be a ViT of timm such as vit_small_patch16_224, but got {arch!r}. "
            f"{_close(arch)}`timm.list_models('vit_*')` lists them; pretrained weights are named by start."
        )
    try:
        network: Any = timm.create_model(arch, num_classes=0, **{**arguments, **layer_arguments(arguments)})
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
