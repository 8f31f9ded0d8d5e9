"""The manifest of TP53: slides with patient, cohort, site and label; patients are split here where it does not."""

import math
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eva_core.errors import UsageError, some
from eva_core.evaluation.holdout import hold_out
from eva_core.files.tables import read_table
from eva_core.progress import say
from eva_vision.datasets.published_files import refuse, repeated

CLASSES = ("wild-type", "mutant")
SHARE = 0.2
"""Share of the patients in val, and again in test, where the manifest has no split."""
_SPLITS = ("train", "val", "test")
_COLUMNS = ("slide", "patient", "cohort", "site", "label")


class Line(NamedTuple):
    """A slide as the manifest lists it. `mpp` is for files that do not state their own."""

    name: str
    path: Path
    patient: str
    cohort: str
    site: str
    target: int
    split: str
    mpp: float | None


def read_manifest(file: Path, seed: int, by_site: bool) -> list[Line]:
    """Read a manifest, and split the patients where it does not.

    Args:
        file: CSV beside the slides, with the columns slide, patient, cohort, site and label, and perhaps split and mpp.
        seed: Decides the split.
        by_site: Whether whole sites go to train, val and test instead of patients.
    Raises:
        UsageError: Names lines that are wrong, slides that are missing or patients in two splits.
    """
    table = read_table(file, _COLUMNS, ("split", "mpp"))
    rows = table.rows
    unread = table.unread({})
    if unread:
        say(unread)
    if not rows:
        raise UsageError(f"Expected slides in {file}, but it lists none.")
    for column, values in (("label", CLASSES), ("split", _SPLITS)):
        unknown = sorted({row[column] for row in rows if column in row} - set(values))
        if unknown:
            raise UsageError(f"Expected {column} to be one of {', '.join(values)} in {file}, but got {some(unknown)}.")
    blank = [row["slide"] for row in rows if not all(row[column] for column in _COLUMNS)]
    if blank:
        raise UsageError(f"Expected {', '.join(_COLUMNS)} in every line of {file}, but got none for {some(blank)}.")
    unreadable = [row["slide"] for row in rows if row.get("mpp") and not _is_mpp(row["mpp"])]
    if unreadable:
        raise UsageError(f"Expected mpp as a number above 0 in {file}, but not so for {some(unreadable)}. Correct it.")
    names = [row["slide"] for row in rows]
    sizes = {name: (file.parent / name).stat().st_size for name in names if (file.parent / name).is_file()}
    refuse(file.parent, sizes, missing=[name for name in names if name not in sizes], duplicate=repeated(names))
    if "split" not in rows[0]:
        _split(rows, file, seed, by_site)
    elif by_site:
        raise UsageError(f"Expected no column split in {file} with hold_out_sites, but it has one. Drop either.")
    places = defaultdict(set)
    for row in rows:
        places[row["patient"]].add(row["split"])
    crossing = sorted(patient for patient, splits in places.items() if len(splits) > 1)
    if crossing:
        raise UsageError(f"{len(crossing)} patients cross splits in {file}: {some(crossing)}. Move each into one.")
    return [
        Line(
            name=row["slide"],
            path=file.parent / row["slide"],
            patient=row["patient"],
            cohort=row["cohort"],
            site=row["site"],
            target=CLASSES.index(row["label"]),
            split=row["split"],
            mpp=float(row["mpp"]) if row.get("mpp") else None,
        )
        for row in rows
    ]


def _is_mpp(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def _split(rows: list[dict[str, str]], file: Path, seed: int, by_site: bool) -> None:
    """Give each row a split: whole patients, or whole sites, until each cohort and label has its share."""
    strata = np.unique([f"{row['cohort']}\0{row['label']}" for row in rows], return_inverse=True)[1]
    groups = np.array([row["site" if by_site else "patient"] for row in rows])
    test = hold_out(strata, groups, SHARE, seed)
    val = np.zeros_like(test)
    if not test.all():
        val[~test] = hold_out(strata[~test], groups[~test], SHARE / (1 - SHARE), seed)
    for row, in_test, in_val in zip(rows, test, val, strict=True):
        row["split"] = "test" if in_test else "val" if in_val else "train"
    absent = set(_SPLITS) - {row["split"] for row in rows}
    if absent:
        groups_are = "sites" if by_site else "patients"
        raise UsageError(
            f"Expected enough {groups_are} in {file} for train, val and test, but {some(sorted(absent))} stays empty. "
            "Add a column split."
        )
