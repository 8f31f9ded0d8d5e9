"""The student names, for patches that it does not see, the prototypes that the teacher sees there."""

from torch import Tensor

from eva_pretrain.losses.cross_entropy import soft_cross_entropy


def ibot_loss(student: Tensor, teacher: Tensor, weights: Tensor, images: int, temperature: float = 0.1) -> Tensor:
    """Weighted cross-entropy over masked patches: -sum_m w_m sum_k p log softmax(s / temperature) / images.

    Args:
        student: Logits of the masked patches, (M, K), any float dtype; M may be 0.
        teacher: Probabilities of the same patches, (M, K).
        weights: Weight of each patch, (M,): 1 / number of masked patches in its crop.
        images: What the sum is divided by: the crops that could be masked, those that were not included.
        temperature: Temperature of the student; 0.1 in DINOv2.

    Returns:
        Scalar loss, 0 where nothing is masked.
    Source: Zhou et al. 2022 (iBOT), equation 2; the weights are DINOv2's.
    """
    losses = soft_cross_entropy(student[None], teacher[None], temperature)[0, 0]  # (M,)
    return (losses * weights).sum() / images
