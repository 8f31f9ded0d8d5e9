"""HEST-bench: expression of 50 genes from patches of 112 micrometres, nine tasks, each an organ."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import EvaError, UsageError, some
from eva_core.evaluation.splits import CROSS_VALIDATED
from eva_core.files.tables import read_table, read_text
from eva_core.progress import Bar
from eva_vision.datasets.h5ad import read_counts
from eva_vision.datasets.published_files import locate, repeated
from eva_vision.datasets.published_hdf5 import ImageTables, reading, texts
from eva_vision.regression.contracts import FoldedDataset, GivenFold

GENES = "var_50genes.json"
_COLUMNS = ("sample_id", "patches_path", "expr_path")
_IMAGES, _BARCODES = "img", "barcode"


_CARD = DatasetCard(
    name="hest_idc",
    task="patch_regression",
    mpp=0.5,
    metric="pearson",
    licence="CC BY-NC-SA 4.0",
    citation="Jaume et al. 2024, HEST-1k: A Dataset for Spatial Transcriptomics and Histology Image Analysis, "
    "arXiv:2406.16192",
    access="accept the terms at https://huggingface.co/datasets/MahmoodLab/hest-bench, then "
    "`hf download MahmoodLab/hest-bench --repo-type dataset --local-dir ROOT`",
)


class _Hest(FoldedDataset):
    """A task of HEST-bench."""

    folder: ClassVar[str]

    def __init__(self, root: str) -> None:
        """Index the patches of the slides that `splits` lists, with the expression of the genes of `var_50genes.json`.

        Args:
            root: The folder that has the folder of the task, or that folder itself.
        Raises:
            UsageError: A file or a list is missing, or the lists do not divide the slides.
            EvaError: A file does not read, or a patch has no expression of a gene.
        """
        where = locate(root, self.folder, self.card)
        self.genes = _genes(where / GENES)
        self.card = replace(self.card, classes=self.genes)
        files, self._folds = _splits(where / "splits")
        self._images = ImageTables(_IMAGES)
        self._numbers: dict[str, int] = {}
        self.samples: list[Sample] = []
        with Bar(f"expression of {self.card.name}", len(files), "slides") as bar:
            for slide, (patches, expression) in sorted(files.items()):
                self.samples += self._read(slide, where / patches, where / expression)
                bar.advance(1)

    def _read(self, slide: str, patches: Path, expression: Path) -> list[Sample]:
        for path in (patches, expression):
            if not path.is_file():
                raise UsageError(
                    f"Expected {path}, which the splits name for {slide}, but it is not there. "
                    f"To get it: {self.card.access}."
                )
        with reading(patches, f"{_IMAGES} and {_BARCODES}") as file:
            barcodes, shape, dtype = texts(file[_BARCODES]), file[_IMAGES].shape, file[_IMAGES].dtype
        if len(shape) != 4 or shape[0] != len(barcodes) or shape[3] != 3 or dtype != np.uint8:
            raise EvaError(
                f"Expected uint8 ({len(barcodes)}, H, W, 3) in {patches}, but got {dtype} {shape}. Get the file again."
            )
        if repeated(barcodes):
            raise EvaError(f"Expected each barcode in {patches} once, but {some(repeated(barcodes))} stand twice.")
        values = np.log1p(read_counts(expression, barcodes, self.genes))
        size, found = patches.stat().st_size, []
        for number, (barcode, row) in enumerate(zip(barcodes, values, strict=True)):
            name = f"{slide}/{barcode}"
            self._numbers[name] = number
            target = tuple(row.tolist())
            found.append(
                Sample(name, CROSS_VALIDATED, target, patches, size, group=slide, mpp=0.5, label_path=expression)
            )
        return found

    @override
    def folds(self) -> Sequence[GivenFold]:
        """The published folds, in order, by slide."""
        return self._folds

    @override
    def image(self, sample: Sample) -> np.ndarray:
        """The pixels of a patch: uint8 RGB, (224, 224, 3)."""
        assert sample.path is not None
        return self._images.image(sample.path, self._numbers[sample.id])

    @override
    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the file of patches, and the number of this one."""
        assert sample.path is not None
        return f"{hashes[sample.path]} {self._numbers[sample.id]}"


def _genes(path: Path) -> tuple[str, ...]:
    """The genes that are predicted, in order."""
    try:
        genes = json.loads(read_text(path))["genes"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f'Expected {{"genes": [...]}} in {path}, but it does not read. Get the file again.') from error
    if not isinstance(genes, list) or not genes or not all(isinstance(gene, str) for gene in genes) or repeated(genes):
        raise UsageError(f"Expected the names of genes in {path}, each once, but got {genes!r:.80}. Get it again.")
    return tuple(genes)


def _splits(folder: Path) -> tuple[dict[str, tuple[str, str]], list[GivenFold]]:
    """Patches and expression of each slide, by its name; and the folds, in order.

    Raises:
        UsageError: A list is missing, a slide has other files in another list, is on both sides of a fold, or is scored
            twice.
    """
    numbers = sorted(int(path.stem[5:]) for path in folder.glob("test_*.csv") if path.stem[5:].isdigit())
    if not numbers or numbers != list(range(len(numbers))):
        raise UsageError(
            f"Expected test_0.csv, test_1.csv, ... in {folder}, but got {numbers or 'none'}. Get them again."
        )
    files: dict[str, tuple[str, str]] = {}
    folds, scored = [], []
    for number in numbers:
        sides = []
        for side in ("train", "test"):
            table = read_table(folder / f"{side}_{number}.csv", _COLUMNS)
            for row in table.rows:
                named = (row["patches_path"], row["expr_path"])
                if files.setdefault(row["sample_id"], named) != named:
                    raise UsageError(f"Expected one pair of files of {row['sample_id']}, but {table.file} has another.")
            sides.append([row["sample_id"] for row in table.rows])
        both = sorted(set(sides[0]) & set(sides[1]))
        if both:
            raise UsageError(
                f"Expected each slide of fold {number} in {folder} once, but {some(both)} are in both lists."
            )
        folds.append(GivenFold(*sides))
        scored += sides[1]
    if repeated(scored):
        raise UsageError(f"Expected each slide in one test list of {folder}, but {some(repeated(scored))} are in more.")
    return files, folds


class HestCcrcc(_Hest):
    """HEST-bench CCRCC: clear cell carcinoma of the kidney.

    Source: https://github.com/mahmoodlab/HEST
    """

    card = replace(_CARD, name="hest_ccrcc")
    folder = "CCRCC"


class HestCoad(_Hest):
    """HEST-bench COAD: adenocarcinoma of the colon.

    Source: https://github.com/mahmoodlab/HEST
    """

    card = replace(_CARD, name="hest_coad")
    folder = "COAD"


class HestIdc(_Hest):
    """HEST-bench IDC: invasive ductal carcinoma of the breast.

    Source: https://github.com/mahmoodlab/HEST
    """

    card = _CARD
    folder = "IDC"


class HestLung(_Hest):
    """HEST-bench LUNG: adenocarcinoma of the lung, which tables print as LUAD.

    Source: https://github.com/mahmoodlab/HEST
    """

    card = replace(_CARD, name="hest_lung")
    folder = "LUNG"


class HestLymphIdc(_Hest):
    """HEST-bench LYMPH_IDC: lymph nodes with metastases of invasive ductal carcinoma.

    Source: https://github.com/mahmoodlab/HEST
    """

    card = replace(_CARD, name="hest_lymph_idc")
    folder = "LYMPH_IDC"


class HestPaad(_Hest):
    """HEST-bench PAAD: adenocarcinoma of the pancreas.

    Source: https://github.com/mahmoodlab/HEST
    """

    card = replace(_CARD, name="hest_paad")
    folder = "PAAD"


class HestPrad(_Hest):
    """HEST-bench PRAD: adenocarcinoma of the prostate.

    Source: https://github.com/mahmoodlab/HEST
    """

    card = replace(_CARD, name="hest_prad")
    folder = "PRAD"


class HestRead(_Hest):
    """HEST-bench READ: adenocarcinoma of the rectum.

    Source: https://github.com/mahmoodlab/HEST
    """

    card = replace(_CARD, name="hest_read")
    folder = "READ"


class HestSkcm(_Hest):
    """HEST-bench SKCM: melanoma of the skin.

    Source: https://github.com/mahmoodlab/HEST
    """

    card = replace(_CARD, name="hest_skcm")
    folder = "SKCM"
