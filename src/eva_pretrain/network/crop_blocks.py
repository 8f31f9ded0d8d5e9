"""Blocks of timm that take the crops of several sizes in one call, with stochastic depth that is drawn before.

One call for all sizes needs one set of weights and one graph; what is drawn is an input, so no rate is part of a graph.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.models.eva import EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn

Drawn = tuple[Tensor, Tensor]
"""What is drawn for the attention and the MLP of a block: factors, float (N, 1, 1), or the rows kept, int64 (kept,)."""


class CropsBlock(Block):
    """Block of a ViT. A tensor passes as in timm; a list of batches, one for each size of crops, together."""

    def forward(self, x: Any, *args: Any, drawn: list[Drawn | None] | None = None, **kwargs: Any) -> Any:
        """Compute the tokens (N, T, D) of a batch, or those of each batch of a list."""
        if isinstance(x, Tensor):
            return super().forward(x, *args, **kwargs)
        return [self._one(tokens, each) for tokens, each in zip(x, drawn or [None] * len(x), strict=True)]

    def _one(self, x: Tensor, drawn: Drawn | None) -> Tensor:
        first, second = drawn or (None, None)
        x = residual(x, lambda rows: self.ls1(self.attn(self.norm1(rows))), first)
        return residual(x, lambda rows: self.ls2(self.mlp(self.norm2(rows))), second)


class CropsEvaBlock(EvaBlock):
    """Block of a ViT with rotary positions, which takes lists as `CropsBlock` does, with `ropes` for each batch."""

    def forward(
        self,
        x: Any,
        *args: Any,
        drawn: list[Drawn | None] | None = None,
        ropes: list[Tensor | None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Compute the tokens (N, T, D) of a batch, or those of each batch of a list."""
        if isinstance(x, Tensor):
            return super().forward(x, *args, **kwargs)
        none = [None] * len(x)
        return [self._one(*each) for each in zip(x, drawn or none, ropes or none, strict=True)]

    def _one(self, x: Tensor, drawn: Drawn | None, rope: Tensor | None) -> Tensor:
        first, second = drawn or (None, None)
        x = residual(x, lambda rows: _scaled(self.attn(self.norm1(rows), rope=rope), self.gamma_1), first)
        return residual(x, lambda rows: _scaled(self.mlp(self.norm2(rows)), self.gamma_2), second)


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else gamma * x


def residual(x: Tensor, branch: Callable[[Tensor], Tensor], drawn: Tensor | None) -> Tensor:
    """Add a residual branch to tokens x (N, T, D).

    Args:
        x: The tokens; the sum has their dtype.
        branch: Function of tokens.
        drawn: None: the branch is added as it is. Float (N, 1, 1): it is multiplied by these. Int64 (kept,): it is
            calculated for these rows of x alone, each at most once, and multiplied by N / kept.
    """
    if drawn is None:
        return x + branch(x).to(x.dtype)
    if drawn.is_floating_point():
        return x + (branch(x) * drawn).to(x.dtype)
    update = branch(x.index_select(0, drawn)) * (x.shape[0] / drawn.shape[0])
    return x.index_add(0, drawn, update.to(x.dtype))


def take_crops(blocks: nn.Module) -> bool:
    """Let timm's blocks take lists of batches, where all are plain; return whether they are."""
    kinds = {Block: CropsBlock, EvaBlock: CropsEvaBlock}
    if not all(type(block) in kinds for block in blocks.children()):
        return False
    for block in blocks.children():
        block.__class__ = kinds[type(block)]
    return True


def kept_rows(n: int, rate: float) -> int:
    """Number of rows of a batch of n that pass a residual branch with a rate of drop path; at least one."""
    return max(1, int(n * (1 - rate)))


def draw(rates: Tensor, n: int, kept: Sequence[int] | None) -> list[Drawn | None]:
    """Draw the stochastic depth of all blocks for a batch.

    Either way the expectation of a branch is the branch. A subset has a fixed number of rows and takes less work; with
    factors each row is dropped by a coin of its own, and calculated all the same.

    Args:
        rates: Rate of each block, (depth,), on the device.
        n: Rows of the batch.
        kept: Number of rows that each block keeps, as `kept_rows` says; None: draw factors.

    Source: Huang et al. 2016, stochastic depth; Oquab et al. 2023 (DINOv2), section 5, of a subset.

    Examples:
        >>> rows, _ = draw(torch.tensor([0.5]), 4, kept=[2])[0]
        >>> len(set(rows.tolist()))
        2
    """
    chance = torch.rand(len(rates), 2, n, device=rates.device)
    if kept is not None:
        order = chance.argsort(-1)
        return [(order[i, 0, :k], order[i, 1, :k]) for i, k in enumerate(kept)]
    keep = (1 - rates).view(-1, 1, 1)
    factors = ((chance < keep) / keep)[..., None, None]
    return [(attention, mlp) for attention, mlp in factors]
