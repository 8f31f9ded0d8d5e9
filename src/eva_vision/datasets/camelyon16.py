"""CAMELYON16: lymph node slides with and without metastases of breast cancer."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError, some
from eva_core.files.tables import read_text
from eva_vision.datasets.published_files import check_counts, locate, refuse, scan
from eva_vision.datasets.slide_files import SlideFiles

CLASSES = ("normal", "tumor")
FOLDERS = {"normal": "training/normal", "tumor": "training/tumor", "test": "testing/images"}
LEFT_OUT = {"normal": (86,), "test": (49,)}
"""Numbers that are not used: normal_086 has a tumour and became tumor_111; test_049 is a copy of another test slide."""
_VAL_NORMAL = (10, 13, 16, 17, 19, 20, 25, 30, 31, 32, 52, 56, 57, 67, 76, 79, 85, 95, 98, 99, 101, 102, 105, 106, 109)
VAL = {
    "normal": (*_VAL_NORMAL, 129, 132, 137, 142, 143, 148, 152),
    "tumor": (1, 5, 11, 12, 13, 19, 31, 37, 43, 46, 57, 65, 69, 71, 73, 79, 80, 81, 82, 85, 97, 109),
}
"""Numbers of the training slides that are val: those from which PatchCamelyon has its valid patches."""
_CITATION = "Ehteshami Bejnordi et al. 2017, Diagnostic assessment of deep learning algorithms for detection of lymph "
_CITATION += "node metastases in women with breast cancer, doi:10.1001/jama.2017.14585"
_ACCESS = "get training/normal, training/tumor, testing/images and testing/reference.csv by the links at "
_ACCESS += "https://camelyon17.grand-challenge.org/Data/ (700 GB)"
_CARD = DatasetCard(
    name="camelyon16",
    task="slide_classification",
    classes=CLASSES,
    mpp=0.25,
    licence="CC0 1.0",
    citation=_CITATION,
    access=_ACCESS,
    collections=("CAMELYON16",),
)


class Camelyon16(SlideFiles):
    """CAMELYON16: 399 slides of sentinel lymph nodes of two Dutch hospitals; up to 10,000 patches each under eva-0.4.

    Source: https://camelyon16.grand-challenge.org
    """

    card = _CARD
    numbers: ClassVar[dict[str, int]] = {"normal": 160, "tumor": 111, "test": 130}
    """The last number of each kind of slide."""
    counts: ClassVar[dict[str, int]] = {"train": 216, "val": 54, "test": 129}

    def __init__(self, root: str) -> None:
        """Index the slides by name.

        Args:
            root: The folder that holds `training` and `testing`, or the one that holds it as `CAMELYON16`.
        Raises:
            UsageError: Names slides that are missing, extra or empty, or have no label.
        """
        base = locate(root, "CAMELYON16/training", self.card).parent
        labels = _reference(base / "testing" / "reference.csv")
        self.samples = []
        for kind, folder in FOLDERS.items():
            sizes = scan(base / folder, ".tif")
            for number in LEFT_OUT.get(kind, ()):
                sizes.pop(_file(kind, number), None)
            numbers = [n for n in range(1, self.numbers[kind] + 1) if n not in LEFT_OUT.get(kind, ())]
            expected = {_file(kind, n): n for n in numbers}
            missing, extra = sorted(expected.keys() - sizes.keys()), sorted(sizes.keys() - expected.keys())
            refuse(base / folder, sizes, missing=missing, extra=extra)
            if kind == "test":
                _refuse_unlabelled(base / "testing" / "reference.csv", [Path(name).stem for name in expected], labels)
            for name, number in expected.items():
                split = "test" if kind == "test" else "val" if number in VAL[kind] else "train"
                label, path = kind if kind != "test" else labels[Path(name).stem], base / folder / name
                target = CLASSES.index(label)
                self.samples.append(Sample(path.stem, split, target, path, sizes[name], group=path.stem))
        check_counts(base, self.counts, self.samples, self.card)


class Camelyon16Small(Camelyon16):
    """CAMELYON16: the same 399 slides, of which eva-0.4 takes up to 1,000 patches each.

    Source: https://camelyon16.grand-challenge.org
    """

    card = replace(_CARD, name="camelyon16_small")


def _file(kind: str, number: int) -> str:
    return f"{kind}_{number:03d}.tif"


def _reference(file: Path) -> dict[str, str]:
    """Labels of the test slides by name, from a table without header."""
    rows = csv.reader(read_text(file).splitlines())
    return {row[0].strip().lower(): row[1].strip().lower() for row in rows if len(row) > 1}


def _refuse_unlabelled(file: Path, names: list[str], labels: dict[str, str]) -> None:
    without = [name for name in names if labels.get(name) not in CLASSES]
    if without:
        raise UsageError(
            f"Expected Normal or Tumor for every test slide in {file}, but {len(without)} have none: {some(without)}. "
            "Get the file again."
        )
