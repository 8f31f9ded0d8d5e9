"""Pictures of a result: the best, the median and the worst."""

from pathlib import Path

import numpy as np
from torch import nn

from eva_core.contracts.results import Picture
from eva_vision.segmentation.context import Context
from eva_vision.segmentation.features.tile_images import read_pair
from eva_vision.segmentation.scoring.overlays import write_overlay
from eva_vision.segmentation.scoring.scoring import Scored, Unit, masks

FOLDER = "overlays"


def draw_overlays(context: Context, scored: Scored, decoder: nn.Module, folder: Path) -> list[Picture]:
    """Write a picture of each under `folder`, by one decoder; returns what results.json says of them.

    Args:
        context: The job on its store.
        scored: Scores of the main split; units are ordered by the mean Dice over its decoders.
        decoder: The selected one of the first run.
        folder: The folder of the result.
    """
    by_decoder = scored.dice(context)[0]
    dice = np.where(np.isnan(by_decoder).any(0), np.nan, by_decoder.mean(0))
    order = [int(n) for n in np.argsort(dice) if not np.isnan(dice[n])]
    if not order:
        return []
    chosen = {"best": order[-1], "median": order[(len(order) - 1) // 2], "worst": order[0]}
    ids = {scored.units[n].id for n in chosen.values()}
    samples = np.unique([scored.units[n].sample for n in chosen.values()])
    drawn = {u.id: (u, p[0], t) for u, p, t in masks(context, [decoder], samples) if u.id in ids}
    (folder / FOLDER).mkdir(exist_ok=True)
    records: list[Picture] = []
    for which, n in chosen.items():
        unit, prediction, target = drawn[scored.units[n].id]
        file = f"{FOLDER}/{which}.png"
        title = f"{which}: {unit.id}, Dice {dice[n]:.3f}, {context.job.model} / {context.job.head_name}"
        if context.card.synthetic:
            title += " (SYNTHETIC)"
        write_overlay(
            folder / file,
            _image(context, unit),
            target,
            prediction,
            context.card.classes,
            title,
            context.card.background,
        )
        records.append({"which": which, "file": file, "id": unit.id, "score": float(dice[n])})
    return records


def _image(context: Context, unit: Unit) -> np.ndarray:
    """The pixels of a unit as it is scored, uint8 (H, W, 3)."""
    if context.cutting.stitch:
        return read_pair(context.dataset, unit.sample, context.cutting.mpp)[0]
    return context.store.image(unit.row)
