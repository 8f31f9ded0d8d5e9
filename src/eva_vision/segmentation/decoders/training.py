"""Training of a decoder on feature maps, as a protocol says."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eva_core.contracts.head import FittedRun
from eva_vision.segmentation.contracts import SegmentationHead
from eva_vision.segmentation.decoders.losses import dice_ce_loss, dice_loss
from eva_vision.segmentation.features.batches import Source
from eva_vision.segmentation.protocol import Segmentation

LOSSES = {"dice": dice_loss, "dice_ce": dice_ce_loss}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make what torch draws within depend on the seed alone; what it draws after does not notice."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def new_decoder(head: SegmentationHead, channels: int, classes: int, seed: int, device: torch.device) -> nn.Module:
    """Make a decoder with the weights that `seed` draws, whatever ran before."""
    with seeded(seed):
        decoder = head.decoder(channels, classes)
    return decoder.to(device).to(memory_format=torch.channels_last)  # convolutions are faster so, on CPUs too


def train(
    decoder: nn.Module,
    source: Source,
    score: Callable[[nn.Module], float],
    section: Segmentation,
    run: int,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> FittedRun:
    """Train one run of a decoder.

    Args:
        decoder: From `new_decoder`; trained in place.
        source: The training tiles.
        score: Value of a decoder; the checkpoint with the greatest is selected.
        section: The section of the protocol.
        run: Number of the run.
        seed: Decides the order of the tiles, their augmentation, and what the decoder draws.
        progress: Called after every step with their number.
    """
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=section.lr, weight_decay=section.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: (1 - n / section.steps) ** section.decay)
    loss_of = LOSSES[section.loss]
    best: dict[str, Tensor] = {}
    value, best_step, evaluations, step, epoch = -1.0, 0, 0, 0, 0
    every = section.evaluate_every or -(-len(source) // section.batch_size)
    decoder.train()
    with seeded(seed):  # dropout and the like
        while step < section.steps and (section.patience is None or evaluations < max(1, section.patience)):
            for batch in source.epoch(epoch, section.batch_size, seed):
                loss = loss_of(logits(decoder, batch.features, batch.images, batch.masks.shape[-1]), batch.masks)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                if section.decay_by == "step":
                    schedule.step()
                step += 1
                progress(step)
                if step % every == 0:
                    score_now = score(decoder)
                    decoder.train()
                    evaluations += 1
                    if not best or score_now > value:
                        best, value, best_step, evaluations = _copy(decoder), score_now, step, 0
                if step == section.steps or (section.patience is not None and evaluations >= max(1, section.patience)):
                    break
            epoch += 1
            if section.decay_by == "epoch":
                schedule.step()
    last = _copy(decoder)
    if not best:
        best, value, best_step = _copy(decoder), score(decoder), step
    return FittedRun(run, best, last, value, {"step": best_step})


def logits(decoder: nn.Module, features: Tensor, images: Tensor, side: int) -> Tensor:
    """Scores of the classes at every pixel of a tile, (B, C, side, side)."""
    features, images = (t.contiguous(memory_format=torch.channels_last) for t in (features, images))
    scores = decoder(features, images)
    return scores if scores.shape[-1] == side else F.interpolate(scores, (side, side), mode="bilinear")


def _copy(decoder: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone().contiguous() for name, value in decoder.state_dict().items()}
