"""PathoROB: patches of the same classes from several medical centres, which robustness is measured by."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import UsageError, some
from eva_core.files.tables import read_table
from eva_vision.datasets.pathorob_schedules import camelyon, tcga, tolkach_esca
from eva_vision.datasets.published_files import check_counts
from eva_vision.datasets.published_parquet import ParquetImages, Row, find_parts, read_rows
from eva_vision.robustness.contracts import Benchmark

SPLITS = {"ID": "train", "OOD": "test"}
"""Split by subset: centres of the benchmark train and measure, other centres test."""
_COLUMNS = ("subset", "slide_id", "patch_id", "biological_class", "medical_center")
_CITATION = "Kömen et al. 2025, Towards Robust Foundation Models for Digital Pathology, arXiv:2507.17845"
_ACCESS = (
    "hf download bifold-pathomics/PathoROB-{0} --repo-type dataset --local-dir data/pathorob_{0}{1} "
    "(https://huggingface.co/datasets/bifold-pathomics/PathoROB-{0})"
)
_LIST = ", and put data/metadata/{0} of https://github.com/bifold-pathomics/PathoROB there"


class PathoROB(Dataset):
    """Patches of 256 px in Parquet files.

    Attributes:
        published_list: File with the rows of the published robustness index, where that is not of all of subset ID.
        benchmark: How the published values were measured.
    """

    counts: ClassVar[dict[str, int]]
    published_list: ClassVar[str | None] = None
    benchmark: Benchmark

    def __init__(self, root: str) -> None:
        """Index the rows.

        Args:
            root: The folder of the Parquet files.
        Raises:
            UsageError: Files are missing, or rows are not as published.
            EvaError: A file does not read, or lacks a column.
        """
        folder = Path(root).expanduser()
        self._images = ParquetImages("image")
        self._numbers: dict[str, int] = {}
        sizes: dict[Path, int] = {}
        self.samples: list[Sample] = []
        for row in read_rows(find_parts(folder, self.card), _COLUMNS, "image"):
            size = sizes.setdefault(row.file, row.file.stat().st_size)
            sample = self._sample(row, size)
            self.samples.append(sample)
            self._numbers[sample.id] = row.number
        check_counts(folder, self.counts, self.samples, self.card)
        listed = None if self.published_list is None else folder / self.published_list
        subsets = None if listed is None or not listed.is_file() else self._listed(listed)
        self.benchmark = self.measured(subsets)

    @abstractmethod
    def measured(self, subsets: Sequence[Sequence[str]] | None) -> Benchmark:
        """Say how the published values were measured: on these subsets, where the list is there."""

    def _sample(self, row: Row, size: int) -> Sample:
        facts = row.facts
        for name, known in (("subset", tuple(SPLITS)), ("biological_class", self.card.classes)):
            if facts[name] not in known:
                raise UsageError(
                    f"Expected {name} as one of {', '.join(known)} in {row.file}, but row {row.number} has "
                    f"{facts[name]!r}. Get the file again."
                )
        return Sample(
            id=f"{facts['slide_id']}-{facts['patch_id']}",
            split=SPLITS[facts["subset"]],
            target=self.card.classes.index(facts["biological_class"]),
            path=row.file,
            bytes=size,
            group=facts["slide_id"],
            site=facts["medical_center"],
        )

    def _listed(self, file: Path) -> list[list[str]]:
        """Ids of the rows that a published list names, by subset."""
        subsets = defaultdict(list)
        for row in read_table(file, _COLUMNS[:3], _COLUMNS[3:]).rows:
            subsets[row["subset"]].append(f"{row['slide_id']}-{row['patch_id']}")
        lost = sorted({id for ids in subsets.values() for id in ids} - self._numbers.keys())
        if lost or not subsets:
            raise UsageError(
                f"Expected rows of {self.card.name} in {file}, but {len(lost):,} of its rows are not in the Parquet "
                f"files: {some(lost) or 'it has none at all'}. Get both again, or remove the list."
            )
        return list(subsets.values())

    @override
    def image(self, sample: Sample) -> np.ndarray:
        """Decode a cell: uint8 RGB, (256, 256, 3)."""
        assert sample.path is not None
        return self._images.image(sample.path, self._numbers[sample.id])

    @override
    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the file, and the number of the row."""
        assert sample.path is not None
        return f"{hashes[sample.path]} {self._numbers[sample.id]}"


class PathorobCamelyon(PathoROB):
    """Lymph nodes with and without metastasis from two centres, and from three others to test on.

    Source: https://huggingface.co/datasets/bifold-pathomics/PathoROB-camelyon
    """

    card = DatasetCard(
        name="pathorob_camelyon",
        classes=("normal", "tumor"),
        licence="CC0 1.0",
        citation=_CITATION,
        access=_ACCESS.format("camelyon", ""),
        collections=("CAMELYON16", "CAMELYON17"),
    )
    counts: ClassVar[dict[str, int]] = {"train": 20_400, "test": 2_002}

    @override
    def measured(self, subsets: Sequence[Sequence[str]] | None) -> Benchmark:
        return Benchmark(11, "train", index_task=self.card.name, margin_task=self.card.name, schedule=camelyon())


class PathorobTcga(PathoROB):
    """Four cancers from four centres, and from four others to test on.

    Source: https://huggingface.co/datasets/bifold-pathomics/PathoROB-tcga
    """

    card = DatasetCard(
        name="pathorob_tcga",
        classes=(
            *("Breast_invasive_carcinoma", "Colon_adenocarcinoma"),
            *("Lung_adenocarcinoma", "Lung_squamous_cell_carcinoma"),
        ),
        licence="CC BY-NC-SA 4.0",
        citation=_CITATION,
        access=_ACCESS.format("tcga", _LIST.format("tcga_2x2.csv")),
        collections=("TCGA",),
    )
    counts: ClassVar[dict[str, int]] = {"train": 5_760, "test": 2_400}
    published_list = "tcga_2x2.csv"

    @override
    def measured(self, subsets: Sequence[Sequence[str]] | None) -> Benchmark:
        departures = ("rows=4x4",) if subsets is None else ()
        return Benchmark(61, "train", subsets or (), "pathorob_tcga_2x2", "pathorob_tcga_4x4", departures, tcga())


class PathorobTolkachEsca(PathoROB):
    """Six tissues of the oesophagus from two centres, and from two others to test on; a group is a case.

    Source: https://huggingface.co/datasets/bifold-pathomics/PathoROB-tolkach_esca
    """

    card = DatasetCard(
        name="pathorob_tolkach_esca",
        classes=("TUMOR", "MUSC_PROP", "SH_OES", "SH_MAG", "REGR_TU", "ADVENT"),
        licence="CC BY-SA 4.0",
        citation=_CITATION,
        access=_ACCESS.format("tolkach_esca", _LIST.format("tolkach_esca_reduced.csv")),
        collections=("TCGA",),
    )
    counts: ClassVar[dict[str, int]] = {"train": 10_800, "test": 5_500}
    published_list = "tolkach_esca_reduced.csv"

    @override
    def measured(self, subsets: Sequence[Sequence[str]] | None) -> Benchmark:
        # the published subsets are the cells of class and centre: neighbours are looked for among all of them
        rows = [[id for ids in subsets for id in ids]] if subsets else []
        departures = ("rows=ID",) if subsets is None else ()
        return Benchmark(46, "train", rows, self.card.name, self.card.name, departures, tolkach_esca())
