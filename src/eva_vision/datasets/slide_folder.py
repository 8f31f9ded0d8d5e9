"""Your own slides and outcomes: files below a folder or in a bucket, and a manifest."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError, some
from eva_vision.slide_level.contracts import SlideDataset, SlideFile
from eva_vision.slide_level.manifest import TASKS, Line, Manifest, read_manifest, refuse_crossing_patients
from eva_vision.slides.index import Index
from eva_vision.slides.reading.blobs import is_url


class SlideFolder(SlideDataset):
    """Slides on disk or in a bucket, with a manifest of labels, values or survival by patient."""

    card = DatasetCard(
        name="slide_folder",
        task="slide_classification",
        access="your own slides, below --dataset.root, and a manifest.csv",
        licence="yours",
    )

    def __init__(
        self,
        root: str,
        manifest: str = "manifest.csv",
        outcome: Literal["label", "value", "survival"] | None = None,
        unit: Literal["patient", "slide"] = "patient",
        metric: str | None = None,
        index: str | None = None,
        hold_out_sites: bool = False,
        ordered: tuple[str, ...] = (),
        name: str = "slide_folder",
    ) -> None:
        """Read the manifest.

        It has a column slide (path below root, or an address) and label, value, or time and event; it may have patient,
        split (train, val, test), site, cohort and mpp. Without split, patients are cross-validated.

        Args:
            root: Folder of the slides, or an address such as `s3://bucket/slides`.
            manifest: CSV, relative to `root` where that is a folder.
            outcome: What is learnt, where the manifest has several; None: the only one. Where it has none, patients are
                `new`, for `eva predict --head`.
            unit: `patient`: all slides of a patient make one bag and have one outcome; `slide`: each slide has its own.
            metric: The main metric; balanced_accuracy, r2 or c_harrell unless given.
            index: An index by `eva slides index` that has the slides; None: their tissue is found here.
            hold_out_sites: Cross-validate by site: each is scored by heads that never saw it.
            ordered: Labels from the lowest to the highest, where they have an order, as grades do: then quadratic kappa
                stands beside the other metrics.
            name: What results and the cache call this dataset.
        Raises:
            UsageError: Names lines that are wrong, slides that are missing, patients with two splits or outcomes.
        """
        file = Path(manifest).expanduser() if is_url(root) else Path(root).expanduser() / manifest
        read = read_manifest(file, root if is_url(root) else str(Path(root).expanduser()), outcome)
        refuse_crossing_patients(file, read.lines)
        units = _units(file, read, unit)
        classes = _classes(file, read, ordered) if read.kind == "label" else ()
        task, usual = TASKS[read.kind]
        self.card = DatasetCard(
            name=name,
            task=task,
            classes=classes,
            metric=metric or usual,
            licence="yours",
            access=root,
            ordinal=bool(ordered),
        )
        self.index = None if index is None else Index(Path(index).expanduser())
        self.fold_by_site = hold_out_sites
        self._slides = {id: tuple(line.file for line in lines) for id, lines in units.items()}
        self._metadata = {id: _metadata(lines) for id, lines in units.items()}
        self.samples = [_sample(id, lines, classes) for id, lines in units.items()]
        if hold_out_sites:
            self.samples = _by_site(file, self.samples)

    @override
    def slides(self, sample: Sample) -> Sequence[SlideFile]:
        return self._slides[sample.id]

    @override
    def metadata(self, sample: Sample) -> Mapping[str, str]:
        return self._metadata[sample.id]


def _classes(file: Path, manifest: Manifest, ordered: Sequence[str]) -> tuple[str, ...]:
    """The labels: in the order that was given, else by letter.

    Raises:
        UsageError: The labels of the manifest are others.
    """
    labels = sorted({line.outcome for line in manifest.lines if isinstance(line.outcome, str)})
    if ordered and labels and sorted(ordered) != labels:
        raise UsageError(
            f"Expected the labels of {file} in --dataset.ordered, {some(labels)}, but got {some(ordered)}. Correct it."
        )
    return tuple(ordered or labels)


def _units(file: Path, manifest: Manifest, unit: str) -> dict[str, list[Line]]:
    """The lines of each patient or slide, by its name.

    Raises:
        UsageError: A patient has two outcomes.
    """
    units = defaultdict(list)
    for line in manifest.lines:
        units[line.patient if unit == "patient" else line.file.name].append(line)
    several = [id for id, lines in units.items() if len({line.outcome for line in lines}) > 1]
    if several:
        raise UsageError(
            f"Expected one outcome for each patient in {file}, but {some(several)} has several. Correct them, or learn "
            "slide by slide with --dataset.unit slide."
        )
    return dict(units)


def _metadata(lines: Sequence[Line]) -> dict[str, str]:
    known = {"cohort": lines[0].cohort, "site": lines[0].site}
    return {name: value for name, value in known.items() if value}


def _sample(id: str, lines: Sequence[Line], classes: Sequence[str]) -> Sample:
    first = lines[0]
    target = classes.index(first.outcome) if isinstance(first.outcome, str) else first.outcome
    return Sample(id, first.split or "cv", target, group=first.patient, site=first.site or None)


def _by_site(file: Path, samples: Sequence[Sample]) -> list[Sample]:
    """The samples, all of which are cross-validated.

    Raises:
        UsageError: A site is unknown, or there is one alone.
    """
    sites = {sample.site for sample in samples}
    if None in sites or len(sites) < 2:
        got = "some patients have none" if None in sites else f"all are of {some(map(str, sites))}"
        raise UsageError(f"Expected at least two sites in the column site of {file} to hold out, but {got}.")
    return [replace(sample, split="cv") for sample in samples]
