"""Masks of whole images by decoders, and their scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from eva_vision.segmentation.context import Context
from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.decoders.training import logits
from eva_vision.segmentation.features.batches import Stored
from eva_vision.segmentation.features.tile_images import fit_labels, scaled
from eva_vision.segmentation.features.tiles import cut, rescale_labels, stitch
from eva_vision.segmentation.scoring import metrics
from eva_vision.segmentation.scoring.instances import aji, label_components, panoptic_quality, part_touching
from eva_vision.segmentation.scoring.predictions import Counts, ImageDice

AT_ONCE = 32  # tiles in a forward pass outside training
INSTANCES = ("aji", "pq", "dq", "sq")


@dataclass(frozen=True)
class Unit:
    """A thing that is scored as one image: an image, or a tile where tiles are not stitched.

    Attributes:
        row: Row of its first tile in the store.
        height: Height in pixels, as scored.
        width: Width in pixels, as scored.
    """

    id: str
    group: str
    sample: int
    row: int
    height: int
    width: int


@dataclass(frozen=True)
class Scored:
    """The units of a split, and their scores.

    Attributes:
        counts: Pixel counts by every decoder, (P, N, 3, C), as `metrics.counts` gives them.
        extras: Scores by name, (P, N); empty where the dataset has no instances.
    """

    units: list[Unit]
    counts: np.ndarray
    extras: dict[str, np.ndarray]

    def dice(self, context: Context) -> tuple[np.ndarray, np.ndarray]:
        """Dice of every decoder and unit, (P, N), and of every class, (P, N, C); NaN where undefined."""
        return self.counted(context, slice(None)).dice()

    def counted(self, context: Context, decoders: slice) -> Counts:
        """What the metrics of some decoders are computed from."""
        extras = {name: values[decoders] for name, values in self.extras.items()}
        return Counts(self.counts[decoders], extras, context.card.background, context.section.empty)

    def predictions(self, context: Context, split: str, decoders: slice) -> ImageDice:
        """What predictions.parquet holds of some decoders."""
        counts, ids, groups = self.counted(context, decoders), [u.id for u in self.units], [u.group for u in self.units]
        return ImageDice(split, ids, groups, *counts.dice(), context.card.classes, counts)


def units_of(context: Context, samples: np.ndarray) -> list[Unit]:
    """The units of some samples, in the order of the store."""
    store = context.store
    rows = store.tiles_of(samples)
    if context.cutting.stitch:
        numbers, first = np.unique(store.tiles[rows, 0], return_index=True)
        return [
            Unit(str(store.ids[n]), str(store.groups[n]), int(n), int(rows[f]), *map(int, store.sizes[n]))
            for n, f in zip(numbers, first, strict=True)
        ]
    # tiles of an image are not independent: where no group is known it is the image
    apart = len(np.unique(store.tiles[:, 0])) < len(store.tiles)
    side = context.cutting.score
    units = []
    for row in rows:
        n, y, x = map(int, store.tiles[row])
        name, group = str(store.ids[n]), str(store.groups[n])
        units.append(
            Unit(f"{name}[{y},{x}]" if apart else name, group or (name if apart else ""), n, int(row), side, side)
        )
    return units


def masks(
    context: Context, decoders: Sequence[nn.Module], samples: np.ndarray
) -> Iterator[tuple[Unit, np.ndarray, np.ndarray]]:
    """Each unit with the classes that every decoder gives its pixels, uint8 (P, H, W), and those of the target."""
    tiles = _tiles(decoders, context.stored(samples), context.cutting.score)
    for unit in units_of(context, samples):
        if context.cutting.stitch:
            classes = stitch(tiles, unit.height, unit.width, context.cutting.score, context.cutting.overlap)
        else:
            classes = next(tiles)
        yield unit, classes[:-1], classes[-1]


@torch.inference_mode()
def _tiles(decoders: Sequence[nn.Module], source: Stored, side: int) -> Iterator[np.ndarray]:
    """The classes of each tile by every decoder and in the target, uint8 (P + 1, side, side)."""
    for batch in source.in_order(AT_ONCE):
        classes = [logits(d.eval(), batch.features, batch.images, side).argmax(1).byte() for d in decoders]
        yield from torch.stack([*classes, batch.masks.byte()], dim=1).cpu().numpy()


def score(context: Context, decoders: Sequence[nn.Module], samples: np.ndarray, instances: int = 0) -> Scored:
    """Count hits of every decoder in every unit.

    Args:
        context: The job on its store.
        decoders: The trained decoders.
        samples: Numbers of the samples, ascending, (n,).
        instances: Number of decoders, the first ones, whose objects are scored too, where the dataset knows them; for
            the others these scores are NaN.
    """
    units, counted, objects = [], [], []
    classes, background = len(context.card.classes), context.card.background
    for unit, predictions, target in masks(context, decoders, samples):
        units.append(unit)
        counted.append([metrics.counts(p, target, classes, context.section.ignore) for p in predictions])
        truth = _instances(context, unit) if instances else None
        if truth is not None:
            of_each = [_objects(truth, p, target, background) for p in predictions[:instances]]
            objects.append([*of_each, *[(np.nan,) * len(INSTANCES)] * (len(predictions) - instances)])
    extras = np.moveaxis(np.array(objects), (0, 1, 2), (2, 1, 0)) if objects else ()  # (names, P, N)
    counts = np.stack(counted, axis=1) if counted else np.zeros((len(decoders), 0, 3, classes), np.int64)
    return Scored(units, counts, dict(zip(INSTANCES, extras, strict=False)))


def _objects(
    truth: np.ndarray, prediction: np.ndarray, target: np.ndarray, background: int | None
) -> tuple[float, ...]:
    objects = part_touching(label_components(prediction, background))
    return aji(truth, objects, target != IGNORE), *panoptic_quality(truth, objects, target != IGNORE)


def _instances(context: Context, unit: Unit) -> np.ndarray | None:
    """The objects of a unit as it is scored, int32 (H, W)."""
    instances = context.dataset.instances(context.dataset.samples[unit.sample])
    if instances is None:
        return None
    instances = rescale_labels(instances, scaled(context.dataset, unit.sample, instances.shape, context.cutting.mpp))
    if context.cutting.stitch:
        return instances
    if context.cutting.tile is not None:
        _, y, x = map(int, context.store.tiles[unit.row])
        instances = cut(instances, y, x, context.cutting.tile, fill=0)
    return fit_labels(instances, context.cutting.geometry, beyond=0).numpy()


def mean_dice(context: Context, decoder: nn.Module, samples: np.ndarray) -> float:
    """Compute the value that selects a checkpoint: mean Dice over the units; 0 where it is undefined in all."""
    dice = score(context, [decoder], samples).dice(context)[0]
    return 0.0 if np.isnan(dice).all() else float(np.nanmean(dice))


@torch.inference_mode()
def predicted(
    context: Context, decoders: Sequence[nn.Module], samples: np.ndarray
) -> Iterator[tuple[Unit, np.ndarray]]:
    """Each stitched image with its most probable classes, mean over decoders, uint8 (H, W)."""

    def tiles() -> Iterator[np.ndarray]:
        for batch in context.stored(samples).in_order(AT_ONCE):
            probabilities = [
                logits(d.eval(), batch.features, batch.images, context.cutting.score).softmax(1) for d in decoders
            ]
            yield from torch.stack(probabilities).mean(0).argmax(1).byte().cpu().numpy()

    maps = tiles()
    for unit in units_of(context, samples):
        yield unit, stitch(maps, unit.height, unit.width, context.cutting.score, context.cutting.overlap)
