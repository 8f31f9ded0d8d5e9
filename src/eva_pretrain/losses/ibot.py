"""Loss of hidden patches: the student predicts the teacher's prototypes for patches that it does not see."""

from torch import Tensor

from eva_pretrain.losses.cross_entropy import soft_cross_entropy
from eva_pretrain.losses.targets import Targets


def ibot_loss(
    student: Tensor, teacher: Tensor | Targets, weights: Tensor, images: int, temperature: float = 0.1
) -> Tensor:
    """Sum weighted cross-entropy over masked patches: -sum_m w_m sum_k p log softmax(s / temperature) / images.

    Args:
        student: Logits of the masked patches, (M, K), any float dtype; M may be 0.
        teacher: Probabilities of the same patches, (M, K), or `Targets`.
        weights: Weight of each patch, (M,): 1 / number of masked patches in its crop.
        images: Divisor of the sum: the number of crops that could be masked, with those that were not.
        temperature: Temperature of the student; 0.1 in DINOv2.

    Returns:
        Scalar loss, 0 where nothing is masked.
    Source: Zhou et al. 2022 (iBOT), equation 2; the weights are DINOv2's.
    """
    losses = soft_cross_entropy(student[None], teacher.unflatten(0, (1, -1)), temperature)[0, 0]  # (M,)
    return (losses * weights).sum() / images
