"""Whether a model was trained on the slides that a dataset was cut from."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from eva_core.contracts.cards import DatasetCard, ModelCard
from eva_core.contracts.dataset import Dataset
from eva_core.contracts.results import Contamination, SplitRecord
from eva_core.evaluation.tcga import patients
from eva_core.files.file_hashes import UNREADABLE

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


def image_hash(sha256: str) -> int:
    """The number by which lists of seen images call a file: the first 8 bytes of its SHA-256, in hexadecimal.

    Ten million images and a dataset of 100,000 have one in common by chance once in 18 million pairs of such sets.

    Examples:
        >>> image_hash(hashlib.sha256(b"").hexdigest())
        16406829232824261652
    """
    return int(sha256[:16], 16)


def seen(model: ModelCard, ids: Sequence[str], groups: Sequence[str], dataset: Dataset | None = None) -> np.ndarray:
    """By sample: whether the model's card lists its id, its patient or slide, or its image as training data, (N,).

    Ids and groups are looked for as they are, without extension, by parts of their paths from the right, and by a TCGA
    patient in them; images by the bytes of their file, never by its name.

    Args:
        model: Card of the model.
        ids: Id of each sample, (N,).
        groups: Patient or slide of each sample, (N,).
        dataset: Has these samples, where they are images in files of their own.
    """
    listed = set(model.training_ids)
    salts = {name.split(":")[1] for name in listed if name.startswith(f"{SALTED}:")}

    def known(name: str) -> bool:
        return name in listed or any(salted(name, salt) in listed for salt in salts)

    names = {name for name in {*ids, *groups} if any(map(known, _names(name)))}
    known_ids = names | (set() if dataset is None else _same_bytes(model, dataset))
    return np.array([i in known_ids or g in names for i, g in zip(ids, groups, strict=True)], bool)


def _same_bytes(model: ModelCard, dataset: Dataset) -> set[str]:
    """Ids of the samples whose image file has the bytes of one that the model was trained on."""
    images = np.frombuffer(model.training_images, "<u8")
    if not len(images):
        return set()
    hashes = dataset.hashes()
    found = {s.id: image_hash(h) for s in dataset.samples if s.path and (h := hashes.get(s.path)) and h != UNREADABLE}
    numbers = np.array([*found.values()], np.uint64)
    at = np.minimum(np.searchsorted(images, numbers), len(images) - 1)
    return {name for name, same in zip(found, images[at] == numbers, strict=True) if same}


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
