"""PANDA: prostate biopsies of two hospitals, graded from 0 to 5."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError
from eva_core.files.tables import read_table
from eva_vision.datasets.published_files import check_counts, locate, refuse
from eva_vision.datasets.slide_files import SlideFiles
from eva_vision.download import fetch

TABLE = "train_with_noisy_labels.csv"
URL = "https://raw.githubusercontent.com/analokmaus/kaggle-panda-challenge-public/master/train.csv"
SEED = 42
GRADES = tuple(map(str, range(6)))
_PAGE = "https://www.kaggle.com/competitions/prostate-cancer-grade-assessment"
_CITATION = "Bulten et al. 2022, Artificial intelligence for diagnosis and Gleason grading of prostate cancer: the "
_CITATION += "PANDA challenge, doi:10.1038/s41591-021-01620-2"
_CARD = DatasetCard(
    name="panda",
    task="slide_classification",
    classes=GRADES,
    ordinal=True,
    mpp=0.5,
    licence="CC BY-NC-SA 4.0",
    citation=_CITATION,
    access=f"unpack prostate-cancer-grade-assessment.zip from {_PAGE} (347 GB), and --dataset.download true for "
    f"{TABLE}, or get it from {URL}",
    collections=("PANDA",),
)


class Panda(SlideFiles):
    """PANDA: ISUP grades of 9,555 prostate biopsies from Radboud and Karolinska; those with noisy labels are left out.

    Source: https://www.kaggle.com/competitions/prostate-cancer-grade-assessment
    """

    card = _CARD
    counts: ClassVar[dict[str, int]] = {"train": 6_686, "val": 1_430, "test": 1_439}
    shares: ClassVar[tuple[float, float, float]] = (0.7, 0.15, 0.15)
    """Shares of each grade in train, val and test."""
    md5: ClassVar[str] = "5e4bfc78bda9603d2e2faf3ed4b21dfa"
    """Checksum of the table of grades, which decides the split."""

    def __init__(self, root: str, download: bool = False) -> None:
        """Split the slides that the table lists; those that no split has need not be there.

        Args:
            root: The folder `prostate-cancer-grade-assessment`, or the one that holds it.
            download: Fetch the table of grades (1 MB) where it is missing; the slides are Kaggle's.
        Raises:
            UsageError: The table is missing or another one, or slides are missing or empty; names them.
        """
        base = locate(root, "prostate-cancer-grade-assessment/train_images", self.card).parent
        grades = _grades(base / TABLE, self.md5, download, self.card)
        targets = np.array([grade for _, grade, _ in grades])
        split_of = stratified(targets, self.shares)
        sizes, missing = {}, []
        self.samples = []
        for (name, grade, provider), split in zip(grades, split_of, strict=True):
            if split is None:
                continue
            path = base / "train_images" / f"{name}.tiff"
            if not path.is_file():
                missing.append(path.name)
                continue
            sizes[path.name] = path.stat().st_size
            self.samples.append(Sample(name, split, grade, path, sizes[path.name], group=name, site=provider))
        refuse(base / "train_images", sizes, missing=missing)
        check_counts(base, self.counts, self.samples, self.card)


class PandaSmall(Panda):
    """PANDA: a fifth of the biopsies, 1,902 of them; eva-0.4 takes up to 200 patches each.

    Source: https://www.kaggle.com/competitions/prostate-cancer-grade-assessment
    """

    card = replace(_CARD, name="panda_small")
    counts: ClassVar[dict[str, int]] = {"train": 952, "val": 475, "test": 475}
    shares: ClassVar[tuple[float, float, float]] = (0.1, 0.05, 0.05)


def _grades(file: Path, md5: str, download: bool, card: DatasetCard) -> list[tuple[str, int, str]]:
    """Name, grade and hospital of each slide whose label is trusted, sorted by name.

    Raises:
        UsageError: The table is missing, or another one.
    """
    if download:
        fetch(URL, file, f"md5:{md5}")
    if not file.is_file():
        raise UsageError(f"Expected {file}, but it is not there. To get it: {card.access}.")
    found = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    if found != md5:
        raise UsageError(
            f"Expected md5 {md5} of {file}, but got {found}: the split would be another. Get it from {URL}."
        )
    rows = read_table(file, ("image_id", "isup_grade", "noise_ratio_10", "data_provider")).rows
    trusted = [row for row in rows if row["noise_ratio_10"] != "0"]
    return sorted((row["image_id"], int(row["isup_grade"]), row["data_provider"]) for row in trusted)


def stratified(targets: np.ndarray, shares: Sequence[float]) -> list[str | None]:
    """Draw train, val and test of each class in turn, by one stream of random numbers, as kaiko-ai/eva @ 73b61a79 does.

    Args:
        targets: Class of each sample, (N,).
        shares: Shares of train, val and test; test takes the rest where they add up to 1.
    Returns:
        The split of each sample, N of them; None for those that no split takes.
    """
    rng, split_of = np.random.default_rng(SEED), dict[int, str]()
    for target in np.unique(targets):
        rows = np.flatnonzero(targets == target)
        rng.shuffle(rows)
        ends = np.cumsum([max(1, math.floor(share * len(rows))) for share in shares]).tolist()
        if math.isclose(sum(shares), 1):
            ends[-1] = len(rows)
        for split, first, end in zip(("train", "val", "test"), (0, *ends), ends, strict=False):
            split_of |= dict.fromkeys(rows[first:end].tolist(), split)
    return [split_of.get(row) for row in range(len(targets))]
