"""Gram anchoring: patch tokens keep the similarities to each other that they had in an earlier network."""

import torch
from torch import Tensor
from torch.nn import functional as F


def gram_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Compare the cosines between the patch tokens of each image with those in an earlier network.

    Args:
        student: Patch tokens of the student, (N, P, D), any scale.
        teacher: Patch tokens of the Gram teacher for the same images, (N, P, D'), without gradient.

    Returns:
        Scalar: the squared Frobenius norm of the difference of the two (P, P) matrices over P^2, mean over images; so
        the same weight serves any size of crops.
    Source: Siméoni et al. 2025 (DINOv3), arXiv 2508.10104, section 4.2; weight 2 there.

    Examples:
        >>> x = torch.eye(2)[None]
        >>> round(gram_loss(x, 3 * x).item(), 4), round(gram_loss(x, torch.ones(1, 2, 2)).item(), 4)
        (0.0, 0.5)
    """
    with torch.autocast(student.device.type, enabled=False):
        x, y = (F.normalize(tokens.float(), dim=-1) for tokens in (student, teacher))
        return (x @ x.mT - y @ y.mT).square().mean()


def resized_tokens(tokens: Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """Resize patch tokens as a feature map, bicubic and antialiased, in float32.

    Args:
        tokens: Patch tokens row by row, (N, h * w, D).
        grid: Their rows and columns, (h, w).
        wanted: Rows and columns of the result, (h', w').

    Returns:
        Patch tokens (N, h' * w', D); the given ones where the grid is the same.
    """
    if grid == wanted:
        return tokens
    with torch.autocast(tokens.device.type, enabled=False):
        maps = tokens.float().mT.unflatten(2, grid)  # (N, D, h, w)
        return F.interpolate(maps, wanted, mode="bicubic", antialias=True).flatten(2).mT
