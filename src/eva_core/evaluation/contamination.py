"""Whether a model was trained on the slides that a dataset was cut from."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from eva_core.contracts.cards import DatasetCard, ModelCard
from eva_core.contracts.results import Contamination, SplitRecord
from eva_core.evaluation.tcga import patients

OTHERS = "others"
"""In a model's collections: there are more that its makers do not name."""
SALTED = "salted"
"""A training id that begins so stands for one that is not public: `salted:SALT:HASH`."""
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,6}$")


def contamination(model: ModelCard, dataset: DatasetCard) -> Literal["declared", "none declared", "unknown"]:
    """By collection: what the cards declare; `unknown` where either does not say, or the model's list is incomplete."""
    if model.collections is None or not dataset.collections:
        return "unknown"
    if set(model.collections) & set(dataset.collections):
        return "declared"
    return "unknown" if OTHERS in model.collections else "none declared"


def salted(name: str, salt: str) -> str:
    """A name that whoever has it can look for: `salted:SALT:` and SHA-256 of salt and name.

    It cannot be read, but it can be guessed: the salt stands beside the hash, and one SHA-256 takes no time, so a name
    that is short or a number is found by trying all.
    """
    return f"{SALTED}:{salt}:{hashlib.sha256(f'{salt}{name}'.encode(errors='surrogateescape')).hexdigest()}"


def without_extension(name: str) -> str:
    """The name of a slide, with its folders, as training ids have it."""
    return _EXTENSION.sub("", name.replace("\\", "/"))


def _names(name: str) -> Iterator[str]:
    """By what training ids may call a sample: as it is, by its patient, by its path, and by parts of that."""
    yield name
    yield from patients(name)
    parts = without_extension(name).split("/")
    for at in range(len(parts)):
        yield "/".join(parts[at:])


def seen(model: ModelCard, ids: Sequence[str], groups: Sequence[str]) -> np.ndarray:
    """By sample: whether the model's card lists its id, or its patient or slide, as training data, (N,).

    Each is looked for as it is, without extension, by parts of its path from the right, and by a TCGA patient in it.
    """
    listed = set(model.training_ids)
    salts = {name.split(":")[1] for name in listed if name.startswith(f"{SALTED}:")}

    def known(name: str) -> bool:
        return name in listed or any(salted(name, salt) in listed for salt in salts)

    names = {name for name in {*ids, *groups} if any(map(known, _names(name)))}
    return np.array([i in names or g in names for i, g in zip(ids, groups, strict=True)], bool)


def marked(
    model: ModelCard, dataset: DatasetCard, known: np.ndarray, rescored: Callable[[np.ndarray], SplitRecord]
) -> Contamination:
    """What results.json says: what the cards declare; by exact ids, also the score on samples that were never seen.

    Args:
        model: Card of the model.
        dataset: Card of the dataset.
        known: Which samples `seen` finds, (N,).
        rescored: Gives the record of a split of the samples that are true in it, (N,).
    """
    if not known.any():
        return {"kind": contamination(model, dataset)}
    mark: Contamination = {"kind": "exact", "n_seen": int(known.sum())}
    if known.all():
        return mark
    rest = rescored(~known)
    mark["unseen"] = {"n": rest["n"], **rest["metrics"][dataset.metric]}
    return mark
