"""Models on registered slides: from the store to what registration.json holds."""

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from eva_core.accelerator import gpus
from eva_core.api import extract_job
from eva_core.boards.standings import published_values
from eva_core.errors import UsageError, some
from eva_core.job import Job
from eva_core.progress import Bar, say
from eva_core.store.store import Store
from eva_core.task import task_named
from eva_vision.robustness.contracts import Registered
from eva_vision.robustness.images import KIND, embeddings
from eva_vision.robustness.pairs import ALL, TOP, measured
from eva_vision.robustness.schema import REGISTERED_SCHEMA, Of, Pairs, Published, RegisteredRecord, Registration

METRIC, PROTOCOL = "leaderboard_metric", "plism-benchmark"
"""The published score, and its protocol: 8,139 tiles of each slide that a file of its repository lists, in float16."""
_MEDIANS = (("cosine", ALL), ("top10", "scanner"), ("top10", "stain"), ("top10", "both"))
"""What the published score is the mean of."""


def registration(jobs: Sequence[Job], registered: Registered, tell: Callable[[str], None] = say) -> Registration:
    """Measure some models on one dataset of registered slides.

    Args:
        jobs: A job for each model, all of the same dataset.
        registered: Its slides.
        tell: Receives lines for the user.
    Returns:
        The content of registration.json.
    Raises:
        UsageError: Fewer than two slides, or a tile that only some slides have.
        EvaError: An image cannot be read, or an embedding is not finite.
    """
    card, models, tiles = jobs[0].dataset.card, [], 0
    for job in jobs:
        store = Store(extract_job(job, tell))
        rows, slides = by_slide(store, registered)
        x = embeddings(store, rows.ravel()).reshape(*rows.shape, -1)
        tiles = rows.shape[1]
        with Bar(f"pairs of slides, {job.model}", 1, "pairs") as bar:
            found = measured(x, {name: registered.slides[name] for name in slides}, _device(job), bar.update)
        models.append(_record(job, found, x.shape))
    return {
        "schema": REGISTERED_SCHEMA,
        "dataset": card.name,
        "synthetic": card.synthetic,
        "slides": len(slides),
        "tiles": tiles,
        "stains": sorted({stain for stain, _ in registered.slides.values()}),
        "scanners": sorted({scanner for _, scanner in registered.slides.values()}),
        "models": models,
    }


def _device(job: Job) -> str:
    return "cuda" if job.how.device in ("auto", "cuda") and gpus() else "cpu"


def by_slide(store: Store, registered: Registered) -> tuple[NDArray[np.intp], list[str]]:
    """Rows of the store by slide and place (S, T), and the names of the slides; tiles that were not read are left out.

    Raises:
        UsageError: Fewer than two slides, or fewer than 2 tiles that all slides have.
    """
    places = [str(id).partition("/")[::2] for id in store.ids]
    named = sorted((slide, place, row) for row, (slide, place) in enumerate(places) if store.readable[row])
    tiles = {slide: {place: row for _, place, row in of} for slide, of in groupby(named, key=lambda one: one[0])}
    unknown = sorted(tiles.keys() - registered.slides.keys())
    shared = sorted(set.intersection(*(set(of) for of in tiles.values()))) if tiles else []
    if unknown or len(tiles) < 2 or len(shared) < 2:
        raise UsageError(
            f"Expected two slides or more that share tiles, but {len(tiles)} slides share {len(shared)} tiles"
            f"{f', and {some(unknown)} are not registered' if unknown else ''}. Get the files again."
        )
    return np.array([[of[place] for place in shared] for of in tiles.values()]), list(tiles)


def _record(job: Job, found: dict[str, NDArray[np.float64]], shape: tuple[int, ...]) -> RegisteredRecord:
    pairs = {kind: Pairs(n=len(v), cosine=_spread(v[:, 0]), top10=_spread(v[:, 1])) for kind, v in found.items()}
    medians = [pairs[kind][name]["median"] for name, kind in _MEDIANS if kind in pairs]  # type: ignore[literal-required]
    score = float(np.mean(medians)) if len(medians) == len(_MEDIANS) else None
    pooling = job.protocol.pooling_for(job.card)
    ours = f"{PROTOCOL}+tiles={shape[1]}-evenly-spaced+precision=fp32"
    ours += "" if pooling == job.card.pooling else f"+pooling={pooling}"
    rows = []
    for protocol, value in published_values().get((job.model, job.dataset.card.name, "all", METRIC), {}).items():
        rows.append(Published(metric=METRIC, value=value, protocol=protocol, ours=ours, delta=None))
    return {
        "model": job.model,
        "weights_sha256": task_named(KIND).key(job).content["weights_sha256"],
        "preprocess": job.resolved.title,
        "dim": shape[2],
        "score": score,
        "pairs": pairs,
        "published": rows,
        "notes": [f"a slide has {shape[1]} tiles: each is found among the {TOP} nearest anyway"]
        if 2 * shape[1] - 1 <= TOP
        else [],
    }


def _spread(values: NDArray[np.float64]) -> Of:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "quartiles": [low, high]}
