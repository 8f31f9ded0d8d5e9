"""Heads on the tokens of a transformer whose published embedding is neither its class token nor a mean."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """One learnt query that attends to all tokens, the class token among them, as in CoCa.

    Source: Yu et al. 2022, arXiv:2205.01917; layout and normalisation as in github.com/mahmoodlab/CONCH @ 141cc09.
    """

    def __init__(self, width: int, dim: int, bias: bool, heads: int = 8) -> None:
        """Make the layers.

        Args:
            width: Size of a token.
            dim: Size of the embedding.
            bias: Whether the projections have one.
            heads: Heads of the attention.
        """
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.zeros(1, dim))
        self.norm_query, self.norm_tokens, self.norm = nn.LayerNorm(dim), nn.LayerNorm(width), nn.LayerNorm(dim)
        self.q, self.out = nn.Linear(dim, dim, bias), nn.Linear(dim, dim, bias)
        self.k, self.v = nn.Linear(width, dim, bias), nn.Linear(width, dim, bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalised tokens (B, N, width) -> embeddings (B, dim)."""
        tokens = self.norm_tokens(tokens)
        query = self.q(self.norm_query(self.query)).expand(len(tokens), 1, -1)  # (B, 1, dim)
        by_head = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (query, self.k(tokens), self.v(tokens))
        )
        pooled = F.scaled_dot_product_attention(*by_head)  # (B, heads, 1, dim / heads)
        embeddings: Tensor = self.norm(self.out(pooled.transpose(1, 2).flatten(1)))
        return embeddings


class Projection(nn.Sequential):
    """Two layers on the class token, whose output has length 1, as in KEEP."""

    def __init__(self, width: int, dim: int) -> None:
        """Make the layers.

        Args:
            width: Size of a token.
            dim: Size of the embedding.
        """
        super().__init__(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalised tokens (B, N, width), the class token first -> embeddings (B, dim)."""
        embeddings = tokens[:, 0]
        for layer in self:
            embeddings = layer(embeddings)
        return F.normalize(embeddings, dim=-1)
