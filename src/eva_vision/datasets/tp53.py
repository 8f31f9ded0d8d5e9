"""TP53: is the gene mutated? Patches of TCGA slides that a manifest lists."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from eva_core.classification.predictions import Predictions
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import EvaError, UsageError, some
from eva_core.files.cache import cache_root, locked
from eva_core.files.file_hashes import file_hashes, sampled
from eva_core.progress import Bar, say
from eva_vision.datasets.slide_level import metadata_baseline, slide_scores
from eva_vision.datasets.tp53_manifest import CLASSES, Line, read_manifest
from eva_vision.slides import tissue_detection
from eva_vision.slides.build_index import build, in_this_process
from eva_vision.slides.index import Index
from eva_vision.slides.reading.slide import Slide
from eva_vision.slides.sampling import COARSER

MPP = 0.5
TISSUE = tissue_detection.SHARE
CARD = DatasetCard(
    name="tp53",
    classes=CLASSES,
    mpp=MPP,
    licence="that of the slides",
    citation="The Cancer Genome Atlas Research Network; task after kaiko.ai et al. 2024, arXiv:2404.15217",
    access="get slides and TP53 calls from https://portal.gdc.cancer.gov and write manifest.csv with the columns "
    "slide, patient, cohort, site, label",
    collections=("TCGA",),
)


class Tp53(Dataset):
    """TP53 mutation from tissue patches of slides, our definition; in-distribution for models trained on TCGA.

    Source: the TP53 task of arXiv:2404.15217, whose exact definition is not public.
    """

    card = CARD

    def __init__(
        self,
        root: str,
        manifest: str = "manifest.csv",
        patches: int = 100,
        size: int = 224,
        seed: int = 0,
        hold_out_sites: bool = False,
    ) -> None:
        """Choose patches of each slide.

        The manifest has the columns slide (path below root), patient, cohort, site and label (`wild-type` or
        `mutant`), and may have split and mpp. Without split, whole patients go to train, val and test, stratified by
        cohort and label.

        Args:
            root: The folder of the slides.
            manifest: The manifest, relative to `root`.
            patches: Most patches per slide.
            size: Side of a patch in pixels, at 0.5 micrometres per pixel.
            seed: Decides the patches and the split; the patches of a slide do not depend on other slides.
            hold_out_sites: Whole tissue source sites go to train, val and test instead of patients.
        Raises:
            UsageError: Names lines that are wrong, slides that are missing or patients in two splits.
            EvaError: A slide does not open, states no mpp where the manifest gives none, or is too coarse.
        """
        for name, value in (("patches", patches), ("size", size)):
            if value < 1:
                raise UsageError(f"Expected argument {name} to be at least 1, but got {value}.")
        self.size = size
        self.slides = read_manifest(Path(root).expanduser() / manifest, seed, hold_out_sites)
        self._indexes = _index(self.slides)
        self._mpp = {slide.path: slide.mpp for slide in self.slides}
        self._last: tuple[int, Path, Slide] | None = None
        self.samples = []
        without = []
        with Bar("tp53: choosing patches", len(self.slides), "slides") as bar:
            for slide in self.slides:
                chosen = _choose(slide, self._indexes[slide.mpp], patches, size, seed)
                self.samples += [
                    Sample(
                        id=f"{slide.name}/{x}_{y}",
                        split=slide.split,
                        target=slide.target,
                        path=slide.path,
                        bytes=slide.path.stat().st_size,
                        group=slide.patient,
                        site=slide.site,
                        mpp=MPP,
                    )
                    for x, y in chosen
                ]
                if not chosen:
                    without.append(slide.name)
                bar.advance(1)
        if without:
            say(f"tp53: {len(without)} slides have no patch with {TISSUE:.0%} tissue: {some(without)}.")

    @override
    def image(self, sample: Sample) -> np.ndarray:
        """Read a patch at 0.5 micrometres per pixel: uint8 RGB, (size, size, 3)."""
        assert sample.path is not None
        if self._last is None or self._last[:2] != (os.getpid(), sample.path):  # a handle must not outlive a fork
            if self._last is not None:
                self._last[2].close()
            index = self._indexes[self._mpp[sample.path]]
            self._last = (os.getpid(), sample.path, index.open(index.number(str(sample.path.absolute()))))
        x, y = map(int, sample.id.rpartition("/")[2].split("_"))
        return self._last[2].read(x, y, self.size, MPP)

    @override
    def report(self, predictions: Sequence[Predictions]) -> dict[str, Any]:
        """Scores per slide, by run, and what the cohort or the site alone would score."""
        train = [slide for slide in self.slides if slide.split == "train"]
        report: dict[str, Any] = {}
        for part in predictions:
            test = [slide for slide in self.slides if slide.split == part.split]
            report[part.split] = {
                "slide_level": slide_scores(part, [id.rpartition("/")[0] for id in part.ids]),
                "cohort_only": metadata_baseline(*([(s.cohort, s.target) for s in x] for x in (train, test))),
                "site_only": metadata_baseline(*([(s.site, s.target) for s in x] for x in (train, test))),
            }
        return report

    @override
    def hashes(self) -> Mapping[Path, str]:
        """SHA-256 of 64 blocks of each slide: all of them are too much to read."""
        return file_hashes((slide.path for slide in self.slides), self.card.name, sampled)

    @override
    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the slide, and place and size of the patch."""
        assert sample.path is not None
        mpp = self._mpp[sample.path]
        return f"{hashes[sample.path]} {sample.id.rpartition('/')[2]} {self.size} {mpp}"

    @override
    def fingerprint(self) -> str:
        """SHA-256 over the samples, whose ids hold their place, and the size of a patch."""
        return hashlib.sha256(f"{super().fingerprint()} {self.size}".encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}  # open slides do not travel to loader processes


def _index(slides: Sequence[Line]) -> dict[float | None, Index]:
    """Index the tissue of each slide, by the mpp that the manifest gives; slides that are known are not opened."""
    indexes = {}
    for mpp in {slide.mpp for slide in slides}:
        folder = index_folder(mpp)
        paths = {str(slide.path.absolute()) for slide in slides if slide.mpp == mpp}
        with locked(folder):
            index = indexes[mpp] = build(sorted(paths), folder, "hsv", mpp, in_this_process)
        failed = [entry for entry in index.failed if entry.path in paths]
        if failed:
            raise EvaError(f"{len(failed)} slides cannot be read, the first of which says: {failed[0].error}")
        coarse = [e for e in index.entries if e.path in paths and e.mpp > MPP * COARSER]
        if coarse:
            first = coarse[0]
            raise EvaError(
                f"Expected {MPP} micrometres per pixel or finer, but {first.path} has {first.mpp:g}. Leave it out."
            )
    return indexes


def index_folder(mpp: float | None) -> Path:
    """Name the folder in which slides are indexed: another for each version of the tissue detection and each mpp.

    Args:
        mpp: Micrometres per pixel of level 0 by the manifest; None: as the files state them.
    """
    return cache_root() / "tp53" / f"tissue{tissue_detection.VERSION}-{'stated' if mpp is None else f'{mpp:g}'}"


def _choose(slide: Line, index: Index, patches: int, size: int, seed: int) -> list[tuple[int, int]]:
    """Choose places (x, y) on level 0 of at most `patches` patches of a grid that are tissue, top to bottom."""
    number = index.number(str(slide.path.absolute()))
    cell = size * MPP / index.entries[number].mpp
    places = np.argwhere(index.mask(number).grid(cell) >= TISSUE)
    stream = int.from_bytes(hashlib.sha256(slide.name.encode()).digest()[:8])
    chosen = np.random.default_rng((seed, stream)).permutation(len(places))[:patches]
    return [(round(column * cell), round(row * cell)) for row, column in places[np.sort(chosen)].tolist()]
