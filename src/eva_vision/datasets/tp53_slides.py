"""TP53: is the gene mutated? Whole TCGA slides, by patient."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from typing_extensions import override

from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError, some
from eva_vision.datasets.tp53 import CARD
from eva_vision.datasets.tp53_manifest import Line, read_manifest
from eva_vision.slide_level.contracts import SlideDataset, SlideFile


class Tp53Slides(SlideDataset):
    """TP53 mutation of patients from all tissue of their slides, our definition; the manifest and splits of `tp53`.

    Source: the TP53 task of arXiv:2404.15217, whose exact definition is not public.
    """

    card = replace(CARD, name="tp53_slides", task="slide_classification")

    def __init__(self, root: str, manifest: str = "manifest.csv", seed: int = 0, hold_out_sites: bool = False) -> None:
        """Read the manifest of `tp53`; all slides of a patient make one bag.

        Args:
            root: The folder of the slides.
            manifest: The manifest, relative to `root`.
            seed: Decides the split, where the manifest has none.
            hold_out_sites: Whole tissue source sites go to train, val and test instead of patients.
        Raises:
            UsageError: Names lines that are wrong, slides that are missing, or patients in two splits or of two labels.
        """
        file = Path(root).expanduser() / manifest
        self._lines: dict[str, list[Line]] = defaultdict(list)
        for line in read_manifest(file, seed, hold_out_sites):
            self._lines[line.patient].append(line)
        several = [name for name, lines in self._lines.items() if len({line.target for line in lines}) > 1]
        if several:
            raise UsageError(f"Expected one label for each patient in {file}, but {some(several)} has two. Correct it.")
        self.samples = [
            Sample(name, lines[0].split, lines[0].target, group=name, site=lines[0].site)
            for name, lines in self._lines.items()
        ]

    @override
    def slides(self, sample: Sample) -> Sequence[SlideFile]:
        return [SlideFile(line.name, str(line.path.absolute()), line.mpp) for line in self._lines[sample.id]]

    @override
    def metadata(self, sample: Sample) -> Mapping[str, str]:
        first = self._lines[sample.id][0]
        return {"cohort": first.cohort, "site": first.site}
