"""TCGA-UNIFORM: which of 32 kinds of cancer a tumour patch is of."""

import random
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.evaluation.tcga import patient
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.class_folders import IMAGES
from eva_vision.datasets.published_files import check_counts, locate, refuse, scan, tell_crossing
from eva_vision.datasets.thunder_splits import SEED
from eva_vision.download import Remote, obtain

_RECORD = "https://zenodo.org/records/5889558"
LEVEL = "0"
"""The folder of the patches at 0.5 micrometres per pixel; the others are coarser."""


class TcgaUniform(ImageFiles):
    """TCGA-UNIFORM: tumour patches of 256 px; 64 % of the patients of each cancer train, 16 % val, 20 % test.

    Source: https://zenodo.org/records/5889558
    """

    card = DatasetCard(
        name="tcga_uniform",
        classes=(
            "Adrenocortical_carcinoma",
            "Bladder_Urothelial_Carcinoma",
            "Brain_Lower_Grade_Glioma",
            "Breast_invasive_carcinoma",
            "Cervical_squamous_cell_carcinoma_and_endocervical_adenocarcinoma",
            "Cholangiocarcinoma",
            "Colon_adenocarcinoma",
            "Esophageal_carcinoma",
            "Glioblastoma_multiforme",
            "Head_and_Neck_squamous_cell_carcinoma",
            "Kidney_Chromophobe",
            "Kidney_renal_clear_cell_carcinoma",
            "Kidney_renal_papillary_cell_carcinoma",
            "Liver_hepatocellular_carcinoma",
            "Lung_adenocarcinoma",
            "Lung_squamous_cell_carcinoma",
            "Lymphoid_Neoplasm_Diffuse_Large_B-cell_Lymphoma",
            "Mesothelioma",
            "Ovarian_serous_cystadenocarcinoma",
            "Pancreatic_adenocarcinoma",
            "Pheochromocytoma_and_Paraganglioma",
            "Prostate_adenocarcinoma",
            "Rectum_adenocarcinoma",
            "Sarcoma",
            "Skin_Cutaneous_Melanoma",
            "Stomach_adenocarcinoma",
            "Testicular_Germ_Cell_Tumors",
            "Thymoma",
            "Thyroid_carcinoma",
            "Uterine_Carcinosarcoma",
            "Uterine_Corpus_Endometrial_Carcinoma",
            "Uveal_Melanoma",
        ),
        mpp=0.5,
        licence="CC BY-NC-SA",
        citation="Komura et al. 2022, Universal encoding of pan-cancer histology by deep texture representations, "
        "Cell Reports; data: doi:10.5281/zenodo.5889558; splits: Marza et al. 2025, THUNDER, arXiv:2507.07860",
        access=f"--dataset.download true, or unpack the 32 zips of {_RECORD} there",
        collections=("TCGA",),
    )
    counts: ClassVar[dict[str, int]] = {"train": 170_840, "val": 44_670, "test": 56_200}
    drawn: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    # No checksum is known for certain: the zips' own are checked, and images are counted.
    remotes: ClassVar[tuple[Remote, ...]] = tuple(
        Remote(f"{_RECORD}/files/{name}.zip?download=1", name) for name in card.classes
    )

    def __init__(self, root: str, download: bool = False) -> None:
        """Index the patches at 0.5 micrometres per pixel of each cancer; the folder of a slide names its patient.

        Args:
            root: The folder that holds those of the 32 cancers.
            download: Fetch and unpack what is missing.
        Raises:
            UsageError: Names images outside the folders of slides, or says how many are missing.
        """
        if download:
            obtain(self.card, self.remotes, Path(root).expanduser())
        self.samples = []
        stream = random.Random(SEED)
        for target, name in enumerate(self.card.classes):
            folder = locate(root, name, self.card) / LEVEL
            sizes = scan(folder, IMAGES)
            slides = defaultdict(list)
            for path in sizes:
                slides[path.rpartition("/")[0]].append(path)
            patients = {slide: patient(slide) for slide in sorted(slides)}
            nameless = [path for slide, of_slide in patients.items() if of_slide is None for path in slides[slide]]
            refuse(folder, sizes, extra=nameless)
            splits = _drawn([group for group in patients.values() if group is not None], stream)
            self.samples += [
                Sample(f"{name}/{path}", splits[group], target, folder / path, sizes[path], group=group)
                for slide, group in patients.items()
                if group is not None
                for path in slides[slide]
            ]
        tell_crossing(self.samples, self.card)
        check_counts(Path(root), self.counts, self.samples, self.card, self.drawn)


def _drawn(patients: list[str], stream: random.Random) -> dict[str, str]:
    """Split of each patient: of four fifths four fifths are train, as MICS-Lab/thunder @ 1c5939f draws them."""
    order = [*dict.fromkeys(patients)]
    stream.shuffle(order)
    held = int(0.8 * len(order))
    train = int(0.8 * held)
    return {who: "train" if i < train else "val" if i < held else "test" for i, who in enumerate(order)}
