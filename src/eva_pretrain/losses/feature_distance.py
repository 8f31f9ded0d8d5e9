"""Distance of features from those of a frozen model: one minus the cosine."""

import torch
from torch import Tensor
from torch.nn import functional as F


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Average one minus the cosine between rows of the student's features and of the frozen model's.

    Args:
        student: Features, (..., D), any scale.
        teacher: Features of the same images or places, in the same shape, without gradient.

    Returns:
        Scalar loss in 0-2, in float32.

    Examples:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> feature_distance(x, 3 * x).item(), feature_distance(x, -x).item()
        (0.0, 2.0)
    """
    with torch.autocast(student.device.type, enabled=False):
        return 1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1).mean()
