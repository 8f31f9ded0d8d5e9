"""The Cox loss of a batch, to train a network that gives a risk."""

import warnings

import torch
from torch import Tensor


def cox_loss(log_hazards: Tensor, times: Tensor, events: Tensor) -> Tensor:
    """Negative log partial likelihood of Cox by event, of a batch; ties as Efron has them.

    Only the order of the times matters, and who is in the batch: give it as many patients as there can be.

    Args:
        log_hazards: Log of the relative hazard, greater where the event is expected sooner, (N,) or (N, 1).
        times: Time of the event, or until which nothing had happened, (N,).
        events: Whether the event happened at that time, (N,) bool or 0 and 1.

    Returns:
        A float32 scalar; 0 with a gradient of 0 where the batch has no event. Infinite or NaN hazards give NaN.

    Examples:
        >>> cox_loss(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 1, 0])).item()  # log(3 * 2) / 2
        0.8958797454833984
    """
    hazards, events = log_hazards.reshape(-1), events.reshape(-1).bool()
    if not events.any() or not hazards.isfinite().all():
        return hazards.float().sum() * 0
    # one more for all changes nothing, and exp of the rest does not overflow; ranks of times lose nothing in float32
    hazards = hazards - hazards.max().detach()
    ranks = torch.unique(times.reshape(-1), return_inverse=True)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are ties; that torch.jit, which it imports, is old
        from torchsurv.loss.cox import neg_partial_log_likelihood

        if len(hazards) == 1:  # one alone is certain to be the one
            return hazards.float().sum() * 0
        total: Tensor = neg_partial_log_likelihood(hazards, events, ranks.float(), ties_method="efron", reduction="sum")
    return total / events.sum()
