"""From stored feature maps to a score: decoders of all runs, the colour baseline, records."""

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
from eva_core.statistics.summary import measured_record
from eva_core.store.reuse import contents_of, copies_of_train
from eva_vision.segmentation.context import Context
from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.decoders import colour_baseline
from eva_vision.segmentation.decoders.run_checkpoints import keep, kept
from eva_vision.segmentation.decoders.training import LOSSES, new_decoder, train
from eva_vision.segmentation.features.batches import Online, Source
from eva_vision.segmentation.features.tile_images import TileImages
from eva_vision.segmentation.features.tiles import Tile
from eva_vision.segmentation.metric_names import METRICS
from eva_vision.segmentation.schema import SegmentationRecord
from eva_vision.segmentation.scoring.example_images import draw_overlays
from eva_vision.segmentation.scoring.predictions import ImageDice, dice_table
from eva_vision.segmentation.scoring.scoring import AT_ONCE, Scored, mean_dice, score

Params = dict[str, Tensor]


def evaluate(at: Context, folder: Path, key: str) -> Answer:
    """Train the decoders of all runs and a linear model of colour, and score both.

    Args:
        at: The job on its store.
        folder: The folder of the result: pictures and finished runs go there.
        key: Key of the result.
    Raises:
        UsageError: There is nothing to learn from.
    """
    started = time.monotonic()
    full_precision()
    plan = make_plan(at.store, at.job.protocol, at.card)
    if not at.store.pixels[plan.train, :IGNORE].any():
        raise UsageError(
            f"Expected pixels of some class in the train split of {at.card.name!r}, but all are ignored. "
            "Correct its masks."
        )
    foreign = untrained(_class_pixels(at, plan), at.card.name, "pixels")
    for split, classes in foreign.items():
        say(f"{at.card.name}: {untrained_line(split, classes, 'pixels')}.")
    runs = _fit(at, plan, folder, key)
    selected, last = [decoder_of(at, r.params) for r in runs], [decoder_of(at, r.last) for r in runs]
    scored = {
        split: score(at, [*selected, *last], at.store.rows(split), instances=len(runs)) for split in plan.reported
    }
    records = {split: _record(at, found, len(runs)) for split, found in scored.items()}
    fit_s = time.monotonic() - started
    splits = {split: record for split, (record, _) in records.items()}
    record: SegmentationRecord = {
        **summary(plan, splits, at.card.metric, METRICS[at.card.metric]),
        "baselines": {colour_baseline.NAME: {"splits": _colour(at, plan)}},
        "contamination": _contamination(at, scored[plan.main], len(runs)),
        "confounds": None,
        "mpp": _mpp(at, plan.main),
        "selected": [{"run": r.run, "value": r.selected_value, **r.selected} for r in runs],
        "refit": None,
        "skipped": at.store.skipped,
        "untrained": foreign,
        "copies": copies_of_train(contents_of(at.dataset), at.store.splits),
        "turned_copies": turned_copies_across(at.store, plan),
        "features": "online" if online(at) else "stored",
        "background": None if at.card.background is None else at.card.classes[at.card.background],
        "overlays": draw_overlays(at, scored[plan.main], selected[0], folder),
        "report": {},
        "cost": cost(at.store, fit_s),
    }
    parts = [_dice(at, split, found, len(runs)) for split, found in scored.items()]
    table = dice_table(parts, at.card.classes, [r.run for r in runs])
    return Answer(record, {r.run: r.params for r in runs}, table, records[plan.main][1])


def _class_pixels(at: Context, plan: Plan) -> dict[str, dict[str, int]]:
    """How many pixels each class has, by split; of reported splits without the class that means leave out."""
    found = {}
    for split in ("train", *plan.reported):
        pixels = at.store.pixels[at.store.rows(split)].sum(0)
        found[split] = {
            name: int(pixels[label])
            for label, name in enumerate(at.card.classes)
            if split == "train" or label != at.card.background
        }
    return found


def _record(at: Context, scored: Scored, runs: int) -> tuple[SplitRecord, np.ndarray]:
    """What results.json says of a split, and the draws of its main metric.

    Args:
        at: The job on its store.
        scored: What the selected decoders of all runs score, then those after the last step.
        runs: Number of runs.
    """
    measures = scored.measures(at)
    record, intervals = measured_record(measures[:runs], measures[runs:], len(scored.units), _groups(scored))
    return record, intervals.draws[at.card.metric]


def _dice(at: Context, split: str, scored: Scored, runs: int) -> ImageDice:
    dice, by_class = (values[:runs] for values in scored.dice(at))
    return ImageDice(split, [u.id for u in scored.units], [u.group for u in scored.units], dice, by_class)


def online(at: Context) -> bool:
    """Whether the backbone runs in every step."""
    return "crops" in at.rules.augment if at.job.how.online is None else at.job.how.online


def _fit(at: Context, plan: Plan, folder: Path, key: str) -> list[FittedRun]:
    """All runs; a finished one is kept in the folder of the result until all are there."""
    runs = range(at.job.protocol.runs)
    name = f"{at.job.head_name} on {at.job.model}"
    source = _source(at, plan)
    fitted = []
    with Bar(name, len(runs) * at.rules.steps, "steps") as bar:
        for run in runs:

            def steps(step: int, before: int = run * at.rules.steps) -> None:
                bar.update(before + step, bar.total)

            found = kept(folder, run, key)
            if found is None:
                found = _train(at, plan, source, run, steps)
                keep(folder, found, key)
            fitted.append(found)
            bar.update((run + 1) * at.rules.steps, bar.total)
    return fitted


def _source(at: Context, plan: Plan) -> Source:
    if not online(at):
        return at.stored(plan.train, "flips" in at.rules.augment)
    say(f"The backbone runs in every step on {at.card.name}: {at.job.protocol.runs} x {at.rules.steps} steps.")
    prepare(at.job.backbone, at.job.protocol, at.device)
    tiles = [Tile(*map(int, place)) for place in at.store.tiles]
    transform = transform_of(at.job.protocol)(at.cutting.geometry)
    items = TileImages(at.dataset, tiles, at.cutting, transform, skip=False)
    return Online(items, at.store.tiles_of(plan.train), at.rules, at.job.backbone, at.fabric, at.job.how)


def _train(at: Context, plan: Plan, source: Source, run: int, progress: Callable[[int], None]) -> FittedRun:
    seed = at.job.protocol.seed + run
    decoder = new_decoder(at.head, at.store.channels, len(at.card.classes), seed, at.device)
    return train(decoder, source, lambda d: mean_dice(at, d, plan.select), at.rules, run, seed, progress)


def decoder_of(at: Context, params: Params, classes: int | None = None) -> nn.Module:
    """A trained decoder; of as many classes as the dataset has, unless given."""
    decoder = new_decoder(at.head, at.store.channels, classes or len(at.card.classes), 0, at.device)
    decoder.load_state_dict(params)
    return decoder


def _groups(scored: Scored) -> list[str | None] | None:
    known = [unit.group or None for unit in scored.units]
    return known if any(known) else None


def _colour(at: Context, plan: Plan) -> dict[str, SplitRecord]:
    """The records of a linear model of colour, by split."""
    source = at.stored(plan.train)
    batches = source.in_order(AT_ONCE)
    model = colour_baseline.fit_colour(batches, len(source), len(at.card.classes), LOSSES[at.rules.loss]).to(at.device)
    found = {}
    for split in plan.reported:
        scored = score(at, [model], at.store.rows(split))
        measures = scored.measures(at)
        found[split] = measured_record(measures, measures, len(scored.units), _groups(scored))[0]
    return found


def _contamination(at: Context, scored: Scored, runs: int) -> Contamination:
    """Whether the model was trained on these images."""

    def rescored(chosen: np.ndarray) -> SplitRecord:
        units = [unit for unit, wanted in zip(scored.units, chosen, strict=True) if wanted]
        rest = Scored(units, scored.counts[:runs, chosen], {})
        measures = rest.measures(at)
        return measured_record(measures, measures, len(units), _groups(rest))[0]

    card = at.job.backbone.card
    ids = [str(at.store.ids[u.sample]) for u in scored.units]  # of images: a tile has a name of its own
    return marked(card, at.card, seen(card, ids, [u.group for u in scored.units]), rescored)


def _mpp(at: Context, split: str) -> Magnification:
    """Micrometres per pixel of the files, and of what reached the model: median over the images of a split."""
    samples = [at.dataset.samples[n] for n in at.store.rows(split)]
    natives = [s.mpp or at.card.mpp for s in samples]
    if any(mpp is None for mpp in natives):
        return {"native": None, "reached": None}
    cutting = at.cutting
    sides = at.store.sizes[at.store.rows(split)].min(1) if cutting.tile is None else cutting.tile
    brought = np.array(natives if cutting.mpp is None else [cutting.mpp] * len(natives), float)
    reached = brought * sides / (cutting.geometry.crop if cutting.stitch else cutting.geometry.resize)
    return {"native": float(np.median(np.array(natives, float))), "reached": float(np.median(reached))}
