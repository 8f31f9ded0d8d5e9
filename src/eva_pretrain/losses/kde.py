"""KDE: a loss that spreads the embeddings of a batch over the sphere, in place of KoLeo."""

import torch
from torch import Tensor
from torch.nn import functional as F

from eva_pretrain.distributed import gather


def kde(x: Tensor, kappa: float = 5.0) -> Tensor:
    """Average the log density at each embedding, by kernels of von Mises and Fisher; minimised, it spreads embeddings.

    mean_i log sum_j exp(kappa cos(x_i, x_j)), j = i included. Unlike the distance to the nearest neighbour it stays
    smooth where patches are nearly the same, as they are in pathology.

    Args:
        x: Embeddings before the head, (B, D), any scale; normalised here in float32. As many on every rank.
        kappa: Concentration of the kernel.

    Returns:
        Scalar loss, the mean over this rank's rows with all ranks' rows as j; finite for duplicates and a single row.
    Source: Zimmermann et al. 2024 (Virchow2), section 3; after Wang and Isola 2020. kappa 5, weight 0.05.

    Examples:
        >>> alike, apart = torch.ones(2, 2), torch.eye(2)
        >>> (kde(alike) > kde(apart)).item()
        True
    """
    with torch.autocast(x.device.type, enabled=False):
        x = F.normalize(x.float(), dim=-1)
        return (kappa * x @ gather(x).T).logsumexp(1).mean()
