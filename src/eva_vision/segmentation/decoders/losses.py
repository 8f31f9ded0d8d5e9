"""Losses of a decoder: soft Dice over the batch, alone or with cross entropy. Pixels to ignore take no part.

Both work in float32 under autocast too: a sum over millions of pixels does not fit into 16 bits.
"""

import torch
from torch import Tensor

from eva_vision.segmentation.contracts import IGNORE

_EPS = 1e-5


def dice_loss(logits: Tensor, target: Tensor, ignore: int = IGNORE) -> Tensor:
    """1 - soft Dice, with sums over the whole batch, mean over all classes, background among them.

    Source: Milletari et al. 2016, V-Net, with sums that are not squared, as `DiceLoss(softmax=True, batch=True)` of
    MONAI has them: of each class (2 * intersection + 1e-5) / (predicted + target + 1e-5).

    Args:
        logits: (B, C, H, W).
        target: Class of each pixel, any integer type, (B, H, W).
        ignore: The label of pixels that take no part.

    Returns:
        Scalar, 0 where every pixel is ignored.

    Raises:
        ValueError: If the shapes do not fit.

    Examples:
        >>> target = torch.tensor([[[0, 1], [1, 1]]])
        >>> one_hot = torch.stack([target == 0, target == 1], dim=1).float()
        >>> [round(dice_loss(logits, target).item(), 3) for logits in (99 * one_hot, -99 * one_hot)]
        [0.0, 1.0]
    """
    _check(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        return _dice(logits.float().softmax(dim=1), target, ignore)


def dice_ce_loss(logits: Tensor, target: Tensor, ignore: int = IGNORE) -> Tensor:
    """`dice_loss` plus the cross entropy, mean over the pixels that count; arguments as there."""
    _check(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        log_probabilities = logits.float().log_softmax(dim=1)
        # torch's own loss adds up in another order every time on a GPU
        of_classes = [torch.dot(p.flatten(), _where(target, c)) for c, p in enumerate(log_probabilities.unbind(dim=1))]
        counted = (target != ignore).sum().clamp(min=1)
        return _dice(log_probabilities.exp(), target, ignore) - torch.stack(of_classes).sum() / counted


def _dice(probabilities: Tensor, target: Tensor, ignore: int) -> Tensor:
    counted = (target != ignore).flatten().float()
    ratios = []
    # class by class: half the time of a one-hot target, forwards and backwards, and never (B, C, H, W) of it
    for number, of_class in enumerate(probabilities.unbind(dim=1)):
        flat, hit = of_class.flatten(), _where(target, number)
        numerator = 2 * torch.dot(flat, hit) + _EPS
        ratios.append(numerator / (torch.dot(flat, counted) + hit.sum() + _EPS))
    return 1 - torch.stack(ratios).mean()


def _where(target: Tensor, number: int) -> Tensor:
    """1 at the pixels of a class, else 0: float32 (B * H * W,)."""
    return (target == number).flatten().float()


def _check(logits: Tensor, target: Tensor) -> None:
    if logits.ndim != 4 or target.shape != (len(logits), *logits.shape[2:]):
        raise ValueError(
            f"Expected logits (B, C, H, W) and a target (B, H, W), but got {tuple(logits.shape)} and "
            f"{tuple(target.shape)}."
        )
