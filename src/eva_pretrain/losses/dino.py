"""Loss of class tokens: the student predicts the teacher's prototypes for another crop of the same image."""

from torch import Tensor

from eva_pretrain.losses.cross_entropy import soft_cross_entropy
from eva_pretrain.losses.targets import Targets


def cross_entropy(student: Tensor, teacher: Tensor | Targets, temperature: float = 0.1) -> Tensor:
    """Average -sum_k p log softmax(s / temperature) over the batch, for every pair of a student's and a teacher's crop.

    Beside its arguments and the gradient of `student`, the function holds at most two float32 blocks of 32 MB, for any
    S, B and K.

    Args:
        student: Logits, (S, B, K), any float dtype.
        teacher: Probabilities, (T, B, K), or `Targets` of this shape.
        temperature: Temperature of the student; 0.1 in DINO and DINOv2.

    Returns:
        Losses (S, T) float32.
    Source: Caron et al. 2021 (DINO), equation 2.
    """
    return soft_cross_entropy(student, teacher, temperature).mean(-1)


def dino_loss(student: Tensor, teacher: Tensor | Targets, temperature: float = 0.1) -> Tensor:
    """Average the cross-entropy over the 2 (2 + L) - 2 pairs of different crops.

    Args:
        student: Logits, (2 + L, B, K), global crops first.
        teacher: Probabilities of the same global crops, (2, B, K).
        temperature: Temperature of the student.

    Returns:
        Scalar loss.
    Source: Caron et al. 2021 (DINO), equation 3 and algorithm 1.
    """
    pairs = cross_entropy(student, teacher, temperature)  # (2 + L, 2)
    return (pairs.sum() - pairs.trace()) / (pairs.numel() - 2)


def dinov2_loss(
    student_global: Tensor, student_local: Tensor, teacher: Tensor | Targets, temperature: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy of global and of local crops, weighted by their number.

    Args:
        student_global: Logits, (2, B, K).
        student_local: Logits, (L, B, K); L may be 0.
        teacher: Probabilities of the same global crops, (2, B, K).
        temperature: Temperature of the student.

    Returns:
        Two scalars to be added: 2 * global / (2 + 2 L), where global is the mean over the 2 B rows with the other
        global crop as target, and local / (2 + 2 L), where local is the sum over all 2 L pairs.
    Source: facebookresearch/dinov2 @ b8931f7, train/ssl_meta_arch.py: there 2 + 2 L counts the pairs.
    """
    pairs = 2 + 2 * len(student_local)
    across = cross_entropy(student_global, teacher, temperature)  # (2, 2)
    local = cross_entropy(student_local, teacher, temperature)  # (L, 2)
    return (across[0, 1] + across[1, 0]) / pairs, local.sum() / pairs
