"""KoLeo: a loss that keeps the embeddings of a batch away from their nearest neighbours."""

import torch
from torch import Tensor
from torch.nn import functional as F

from eva_pretrain.distributed import gather, rank


def koleo(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Average the negative log distance to the nearest neighbour; minimised, it spreads embeddings.

    Args:
        x: Embeddings before the head, (B, D), any scale; normalised here in float32. As many on every rank.
        eps: Small number that keeps distances above 0.

    Returns:
        Scalar loss, the mean over this rank's rows with all ranks' rows as neighbours; finite also for duplicate rows,
        0 for a single row.
    Source: Sablayrolles et al. 2019, section 3.1; weight 0.1 in DINOv2, for each global crop by itself and each rank
        alone.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = F.normalize(x.float(), dim=-1, eps=eps)
        others, first = gather(x), rank() * len(x)
        if len(others) < 2:
            return (x * 0).sum()
        with torch.no_grad():
            cosines = x @ others.T  # (B, R B)
            cosines.diagonal(first).fill_(-1)  # itself; where all others are as far, any of them will do
            nearest = cosines.argmax(1)
        distances: Tensor = (x - others[nearest] + eps).norm(dim=-1)
        return -(distances + eps).log().mean()
