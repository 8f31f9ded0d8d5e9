"""Checkpoints of a run that goes on with another number of accumulated batches: counts of batches, in the new ones."""

from typing import Any


def regroup(checkpoint: dict[str, Any], accumulate: int) -> None:
    """Restate, in place, how many batches of a device a run has read, where an optimiser step now takes another number.

    A checkpoint is written between two optimiser steps, so that whole steps are counted. Which samples a step has does
    not depend on how they are divided into batches; see `eva_pretrain.data.batch_order`.

    Args:
        checkpoint: Content of a checkpoint.
        accumulate: Batches of an optimiser step from now on.
    """
    steps = checkpoint["global_step"]
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    before = progress["total"]["ready"] // steps if steps else accumulate
    if before == accumulate:
        return
    for counts in (progress["total"], progress["current"]):
        more = counts["ready"] // before * accumulate - counts["ready"]
        counts.update({name: count + more for name, count in counts.items()})
    for loader in checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", ()):
        loader["batches"] = loader["batches"] // before * accumulate
        loader["left_out"] = {slide: -(-batch // before) * accumulate for slide, batch in loader["left_out"].items()}
