"""Evaluation of a segmentation: decoders of all runs, the colour baseline, records."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from eva_core.contracts.head import FittedRun
from eva_core.contracts.results import Contamination, Magnification, SplitRecord
from eva_core.errors import UsageError
from eva_core.evaluation.class_checks import untrained, untrained_line
from eva_core.evaluation.contamination import marked, seen
from eva_core.evaluation.copies import turned_copies_across
from eva_core.evaluation.splits import Plan, cost, make_plan, summary
from eva_core.extraction.engine import full_precision, prepare
from eva_core.extraction.pixels import transform_of
from eva_core.job import Answer
from eva_core.progress import Bar, say
from eva_core.store.reuse import contents_of, copies_of_train
from eva_vision.segmentation.context import Context
from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.decoders import colour_baseline
from eva_vision.segmentation.decoders.run_checkpoints import read_run, write_run
from eva_vision.segmentation.decoders.training import LOSSES, new_decoder, train
from eva_vision.segmentation.features.batches import Online, Source
from eva_vision.segmentation.features.tile_images import TileImages
from eva_vision.segmentation.features.tiles import Tile
from eva_vision.segmentation.metric_names import METRICS
from eva_vision.segmentation.schema import SegmentationRecord
from eva_vision.segmentation.scoring.example_images import draw_overlays
from eva_vision.segmentation.scoring.predictions import dice_table
from eva_vision.segmentation.scoring.scoring import AT_ONCE, Scored, mean_dice, score

Params = dict[str, Tensor]


def evaluate(context: Context, folder: Path, key: str) -> Answer:
    """Train the decoders of all runs and a linear model of colour, and score both.

    Args:
        context: The job on its store.
        folder: The folder of the result: pictures and finished runs go there.
        key: Key of the result.
    Raises:
        UsageError: There is nothing to learn from.
    """
    started = time.monotonic()
    full_precision()
    plan = make_plan(context.store, context.job.protocol, context.card)
    if not context.store.pixels[plan.train, :IGNORE].any():
        raise UsageError(
            f"Expected pixels of some class in the train split of {context.card.name!r}, but all are ignored. "
            "Correct its masks."
        )
    foreign = untrained(_class_pixels(context, plan), context.card.name, "pixels")
    for split, classes in foreign.items():
        say(f"{context.card.name}: {untrained_line(split, classes, 'pixels')}.")
    runs = _fit(context, plan, folder, key)
    selected, last = [decoder_of(context, r.params) for r in runs], [decoder_of(context, r.last) for r in runs]
    scored = {
        split: score(context, [*selected, *last], context.store.rows(split), instances=len(runs))
        for split in plan.reported
    }
    of_selected, of_last = slice(len(runs)), slice(len(runs), None)
    parts = {split: part.predictions(context, split, of_selected) for split, part in scored.items()}
    records = {
        split: part.record((), scored[split].predictions(context, split, of_last)) for split, part in parts.items()
    }
    fit_s = time.monotonic() - started
    splits = {split: record for split, (record, _) in records.items()}
    record: SegmentationRecord = {
        **summary(plan, splits, context.card.metric, METRICS[context.card.metric]),
        "baselines": {colour_baseline.NAME: {"splits": _colour(context, plan)}},
        "contamination": _contamination(context, scored[plan.main], len(runs)),
        "confounds": None,
        "mpp": _mpp(context, plan.main),
        "selected": [{"run": r.run, "value": r.selected_value, **r.selected} for r in runs],
        "refit": None,
        "skipped": context.store.skipped,
        "untrained": foreign,
        "copies": copies_of_train(contents_of(context.dataset), context.store.splits),
        "turned_copies": turned_copies_across(context.store, plan),
        "features": "online" if online(context) else "stored",
        "background": None if context.card.background is None else context.card.classes[context.card.background],
        "overlays": draw_overlays(context, scored[plan.main], selected[0], folder),
        "report": {},
        "cost": cost(context.store, fit_s),
    }
    table = dice_table([*parts.values()], context.card.classes, [r.run for r in runs])
    draws = records[plan.main][1].draws[context.card.metric]
    return Answer(record, {r.run: r.params for r in runs}, table, draws)


def _class_pixels(context: Context, plan: Plan) -> dict[str, dict[str, int]]:
    """Count the pixels of each class, by split; in reported splits without the class that means leave out."""
    counts = {}
    for split in ("train", *plan.reported):
        pixels = context.store.pixels[context.store.rows(split)].sum(0)
        counts[split] = {
            name: int(pixels[label])
            for label, name in enumerate(context.card.classes)
            if split == "train" or label != context.card.background
        }
    return counts


def online(context: Context) -> bool:
    """Whether the backbone runs in every step."""
    return "crops" in context.section.augment if context.job.how.online is None else context.job.how.online


def _fit(context: Context, plan: Plan, folder: Path, key: str) -> list[FittedRun]:
    """Fit all runs; a finished one is kept in the folder of the result until all are there."""
    runs = range(context.job.protocol.runs)
    name = f"{context.job.head_name} on {context.job.model}"
    source = _source(context, plan)
    fitted = []
    with Bar(name, len(runs) * context.section.steps, "steps") as bar:
        for run in runs:

            def steps(step: int, before: int = run * context.section.steps) -> None:
                bar.update(before + step, bar.total)

            fitted_run = read_run(folder, run, key)
            if fitted_run is None:
                fitted_run = _train(context, plan, source, run, steps)
                write_run(folder, fitted_run, key)
            fitted.append(fitted_run)
            bar.update((run + 1) * context.section.steps, bar.total)
    return fitted


def _source(context: Context, plan: Plan) -> Source:
    if not online(context):
        return context.stored(plan.train, "flips" in context.section.augment)
    runs, steps = context.job.protocol.runs, context.section.steps
    say(f"The backbone runs in every step on {context.card.name}: {runs} x {steps} steps.")
    prepare(context.job.backbone, context.job.protocol, context.device)
    tiles = [Tile(*map(int, place)) for place in context.store.tiles]
    transform = transform_of(context.job.protocol)(context.cutting.geometry)
    items = TileImages(context.dataset, tiles, context.cutting, transform, skip=False)
    return Online(
        items,
        context.store.tiles_of(plan.train),
        context.section,
        context.job.backbone,
        context.fabric,
        context.job.how,
    )


def _train(context: Context, plan: Plan, source: Source, run: int, progress: Callable[[int], None]) -> FittedRun:
    seed = context.job.protocol.seed + run
    decoder = new_decoder(context.head, context.store.channels, len(context.card.classes), seed, context.device)
    return train(decoder, source, lambda d: mean_dice(context, d, plan.select), context.section, run, seed, progress)


def decoder_of(context: Context, params: Params, classes: int | None = None) -> nn.Module:
    """Rebuild a trained decoder; of as many classes as the dataset has, unless given."""
    decoder = new_decoder(context.head, context.store.channels, classes or len(context.card.classes), 0, context.device)
    decoder.load_state_dict(params)
    return decoder


def _colour(context: Context, plan: Plan) -> dict[str, SplitRecord]:
    """Fit and score a linear model of colour; returns its record of each split."""
    source = context.stored(plan.train)
    batches = source.in_order(AT_ONCE)
    model = colour_baseline.fit_colour(
        batches, len(source), len(context.card.classes), LOSSES[context.section.loss]
    ).to(context.device)
    records = {}
    for split in plan.reported:
        scored = score(context, [model], context.store.rows(split))
        records[split] = scored.predictions(context, split, slice(None)).record(())[0]
    return records


def _contamination(context: Context, scored: Scored, runs: int) -> Contamination:
    """Say which of these images the model was trained on, and what the others score."""

    def rescored(chosen: np.ndarray) -> SplitRecord:
        units = [unit for unit, is_chosen in zip(scored.units, chosen, strict=True) if is_chosen]
        return Scored(units, scored.counts[:runs, chosen], {}).predictions(context, "", slice(None)).record(())[0]

    card = context.job.backbone.card
    ids = [str(context.store.ids[u.sample]) for u in scored.units]  # of images: a tile has a name of its own
    return marked(card, context.card, seen(card, ids, [u.group for u in scored.units], context.dataset), rescored)


def _mpp(context: Context, split: str) -> Magnification:
    """Micrometres per pixel of the files, and of what reached the model: median over the images of a split."""
    samples = [context.dataset.samples[n] for n in context.store.rows(split)]
    natives = [s.mpp or context.card.mpp for s in samples]
    if any(mpp is None for mpp in natives):
        return {"native": None, "reached": None}
    cutting = context.cutting
    sides = context.store.sizes[context.store.rows(split)].min(1) if cutting.tile is None else cutting.tile
    brought = np.array(natives if cutting.mpp is None else [cutting.mpp] * len(natives), float)
    reached = brought * sides / (cutting.geometry.crop if cutting.stitch else cutting.geometry.resize)
    return {"native": float(np.median(np.array(natives, float))), "reached": float(np.median(reached))}
