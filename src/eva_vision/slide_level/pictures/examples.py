"""Pictures of a few samples: what the heads that never saw them look at, as PNG and as GeoJSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eva_core.contracts.head import FittedRun
from eva_core.contracts.results import Picture
from eva_core.errors import EvaError
from eva_core.files.atomic_files import make_folder
from eva_core.job import Job
from eva_core.progress import Bar, say
from eva_vision.slide_level.bags.bag_store import BagStore
from eva_vision.slide_level.contracts import SlideDataset, SlideFile
from eva_vision.slide_level.pictures.looks import Looks, look
from eva_vision.slide_level.pictures.sheet import Patch, Scale, attention_scale, heat_map, sized, write_sheet
from eva_vision.slide_level.scoring import Example, Said, Scoring
from eva_vision.slides.geojson import feature, square, write_geojson
from eva_vision.slides.reading.open import open_as_stated
from eva_vision.slides.reading.slide import Slide

FOLDER, ENDS, _SIDE = "pictures", 4, 620
"""Where pictures lie in a result; patches of most and of least; pixels that a thumbnail is read at."""


@dataclass(frozen=True)
class _Shown:
    """The patches of the one slide of a sample that is shown, (n, ...)."""

    file: SlideFile
    bag: int
    slides: int
    coords: np.ndarray
    name: str
    values: np.ndarray
    scale: Scale
    share: float | None
    """Of the attention, in this slide; None where the head has none."""
    measurements: list[dict[str, float]]


def draw_examples(
    job: Job, store: BagStore, scoring: Scoring, said: Said, fitted: Sequence[FittedRun], folder: Path
) -> tuple[list[Picture], list[str]]:
    """Draw the samples that a scoring chooses; returns the pictures and the names of the files of shapes.

    Args:
        job: What was asked.
        store: The bags.
        scoring: Chooses the samples, and says what an output means.
        said: What heads say of the main split.
        fitted: The runs of each fold, fold after fold.
        folder: The folder of the result.
    """
    examples, runs = scoring.examples(said, job.dataset.card), len(said.outputs)
    pictures: list[Picture] = []
    shapes: list[str] = []
    with Bar("pictures of slides", len(examples), "slides") as bar:
        for example in examples:
            row = int(np.flatnonzero(store.ids == said.ids[example.number])[0])
            fold = int(said.folds[example.number])
            looks = look(store, row, job.head, [run.params for run in fitted[fold * runs : (fold + 1) * runs]])
            if looks is None:
                break
            stem = f"{FOLDER}/{example.which.replace(' ', '_')}"
            make_folder(folder / FOLDER)
            try:
                shown = _chosen(job, store, scoring, looks, example, row)
                _draw(job, store, shown, example, runs, folder / f"{stem}.png")
            except (EvaError, OSError) as error:  # a slide that is gone by now costs no result
                say(f"No picture of {example.id}: {' '.join(str(error).split())}")
                continue
            _write_shapes(store, shown, folder / f"{stem}.geojson")
            pictures.append({"which": example.which, "file": f"{stem}.png", "id": example.id, "score": example.score})
            shapes.append(f"{stem}.geojson")
            bar.advance(1)
    return pictures, shapes


def _chosen(job: Job, store: BagStore, scoring: Scoring, looks: Looks, example: Example, row: int) -> _Shown:
    """The slide of a sample that has most of the attention, or the patch that speaks most."""
    name, values, ends = scoring.of_patches(looks.outputs, example, job.dataset.card)
    by_bag = {int(bag): looks.bag == bag for bag in np.unique(looks.bag)}
    if looks.attention is None:
        bag = int(looks.bag[values.argmax()])
        shown, share, scale = values, None, Scale(f"{name} of each patch alone", *ends)
    else:
        shown, scale = looks.attention, attention_scale(looks.attention)
        shares = {one: float(shown[inside].mean() * inside.mean()) for one, inside in by_bag.items()}
        bag = max(shares, key=lambda one: shares[one])
        share = shares[bag]
    inside = by_bag[bag]
    said = [{name: round(float(value), 6)} for value in values[inside]]
    if looks.attention is not None:
        weights = looks.attention[inside]
        said = [{"attention x patches": round(float(w), 6), **one} for w, one in zip(weights, said, strict=True)]
    dataset = job.dataset
    assert isinstance(dataset, SlideDataset)
    files = {file.name: file for file in dataset.slides(dataset.samples[row])}
    file = files[str(store.slide_names[bag])]
    return _Shown(file, bag, len(by_bag), looks.coords[inside], name, shown[inside], scale, share, said)


def _draw(job: Job, store: BagStore, shown: _Shown, example: Example, runs: int, path: Path) -> None:
    side, width = float(store.facts["side"][shown.bag]), int(store.facts["width"][shown.bag])
    order = np.argsort(-shown.values, kind="stable")
    count = min(ENDS, len(order) // 2) or 1
    with _opened(job, shown.file) as slide:
        thumbnail = sized(slide.thumbnail(_SIDE))
        patches = {n: _pixels(slide, shown.coords[n], side, job) for n in {*order[:count], *order[-count:]}}
    what = (
        ("most attention", "least attention")
        if shown.share is not None
        else (f"highest {shown.name}", f"lowest {shown.name}")
    )
    captions = [("x " if shown.share is not None else "") + f"{value:.3g}" for value in shown.values]
    ends = {
        end: [Patch(patches[n], captions[n]) for n in numbers]
        for end, numbers in zip(what, (order[:count], order[::-1][:count]), strict=True)
    }
    mean = f", mean over {runs} runs" if runs > 1 else ""
    candidates = int(store.facts["candidates"][shown.bag])
    part = f", with {shown.share:.0%} of the attention" if shown.share is not None and shown.slides > 1 else ""
    which = f"the slide {shown.file.name}" + (f" of {shown.slides}{part}" if shown.slides > 1 else "")
    synthetic = "SYNTHETIC, " if job.dataset.card.synthetic else ""
    lines = [
        f"{'Attention' if shown.share is not None else 'Patch predictions'}, {job.model}, {job.head_name}{mean}: "
        "by heads that were not trained on this sample",
        f"{synthetic}{which}: {len(order):,} of {candidates:,} patches of tissue",
    ]
    colours = shown.scale.colours(shown.values)
    panels = [thumbnail, heat_map(thumbnail, shown.coords, side, colours, width)]
    write_sheet(path, f"{example.which}: {example.line}", lines, panels, shown.scale, ends)


def _opened(job: Job, file: SlideFile) -> Slide:
    dataset = job.dataset
    assert isinstance(dataset, SlideDataset)
    if dataset.index is not None:
        return dataset.index.open(dataset.index.number(file.path))
    return open_as_stated(file.path, file.mpp)


def _pixels(slide: Slide, corner: np.ndarray, side: float, job: Job) -> np.ndarray:
    size: int = job.resolved.section.size
    return slide.read(int(corner[0]), int(corner[1]), size, side * slide.mpp / size)


def _write_shapes(store: BagStore, shown: _Shown, path: Path) -> None:
    side = float(store.facts["side"][shown.bag])
    colours = shown.scale.colours(shown.values).tolist()
    corners = shown.coords.tolist()
    tiles = [
        feature(square(x, y, side), "tile", f"patch {n}", measurements=said, colour=(colour[0], colour[1], colour[2]))
        for n, ((x, y), said, colour) in enumerate(zip(corners, shown.measurements, colours, strict=True), 1)
    ]
    write_geojson(path, tiles)
