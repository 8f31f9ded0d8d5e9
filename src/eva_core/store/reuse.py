"""Rows of earlier stores for images that are known: a changed image costs its own embedding, a changed label none.

Each row of a store says by a hash what decides it. Where model, preprocessing and that hash are equal, the row is
copied: from finished stores, and from parts of unfinished ones, of whatever dataset.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from eva_core.contracts.dataset import Dataset
from eva_core.errors import EvaError
from eva_core.files.cache import cache_root
from eva_core.files.checksums import Verified
from eva_core.identity import qualified_name, version_of
from eva_core.store import hdf5_files
from eva_core.store.store import BLOCK, StoreKey
from eva_core.store.writer import PartWriter, finished_parts

CONTENT = "content"
"""In stores and parts: what decides each row, uint8 (n, 32); zeros where that is not known."""
_AT_ONCE = 2**26  # bytes of rows in memory


def contents_of(dataset: Dataset) -> np.ndarray:
    """A hash of what decides the pixels of each sample, uint8 (N, 32)."""
    hashes = dataset.hashes()
    says = teller(dataset, "pixels", ("image",))
    texts = [None if says is None else dataset.pixels(sample, hashes) for sample in dataset.samples]
    return hashed([None if text is None else f"{says}\0{text}" for text in texts])


def teller(dataset: Dataset, what: str, made_by: Sequence[str]) -> str | None:
    """The class whose method `what` says what decides images or their labels.

    None where a class derived from it makes them in a way of its own, by a method of `made_by`, and does not say how.
    """
    for cls in type(dataset).__mro__:
        if what in vars(cls):
            return f"{qualified_name(cls)} {version_of(cls)}"
        if any(name in vars(cls) for name in made_by):
            return None
    return None


def hashed(texts: Sequence[str | None]) -> np.ndarray:
    """SHA-256 of each text, zeros for None: uint8 (n, 32)."""
    rows = [bytes(32) if text is None else hashlib.sha256(text.encode()).digest() for text in texts]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 32)


def copies_of_train(contents: np.ndarray, splits: np.ndarray) -> dict[str, int]:
    """How many images of each other split have the very pixels of one of train; only where there are any.

    Args:
        contents: From `contents_of`, uint8 (N, 32).
        splits: Split of each sample, (N,).
    """
    rows = [content.tobytes() for content in contents]
    taught = {row for row, split in zip(rows, splits, strict=True) if split == "train"} - {bytes(32)}
    copies = Counter(str(split) for row, split in zip(rows, splits, strict=True) if split != "train" and row in taught)
    return dict(copies)


def refuse_changed(key: StoreKey, dataset: Dataset, rows: np.ndarray, contents: np.ndarray) -> None:
    """Refuse a store whose images were replaced while it was filled; the parts that hold them go.

    Args:
        key: Identity of the store.
        dataset: The dataset.
        rows: The number of the sample behind each row, (n,).
        contents: What decided each sample as the work began, from `contents_of`, uint8 (N, 32).
    Raises:
        EvaError: The data are not what they were.
    """
    if dataset.fingerprint() == key.content["dataset_sha256"]:
        return
    changed = (contents_of(dataset) != contents).any(1) | ~contents.any(1)
    for path, numbers in finished_parts(key.path).items():
        if changed[rows[numbers]].any():
            path.unlink()
    raise EvaError(f"Expected {dataset.card.name!r} to stay as it is, but it changed meanwhile. Run it again.")


def take_over(key: StoreKey, contents: np.ndarray, missing: np.ndarray) -> int:
    """Copy rows that earlier stores have into parts of a store to be.

    Args:
        key: Identity of the store to be.
        contents: What decides each row of the store, uint8 (n, 32).
        missing: Row numbers that are wanted.
    Returns:
        How many rows were copied.
    """
    wanted = defaultdict(list)
    for row in missing.tolist():
        content = contents[row].tobytes()
        if any(content):
            wanted[content].append(row)
    copied = 0
    for path in _others(key):
        if not wanted:
            break
        with suppress(EvaError):  # damaged, or gone by now: whoever wants that store itself says so
            hdf5_files.verify(path, Verified(Path(f"{path}.verified")) if path.suffix == ".h5" else None)
            with hdf5_files.reading(path) as file:
                if hdf5_files.attributes(file).get("base") == key.base and CONTENT in file:
                    copied += _copy(file, key, wanted)
    return copied


def _others(key: StoreKey) -> Iterator[Path]:
    """Stores of the same model, the newest first; then parts of unfinished ones."""
    own = str(key.path)
    for pattern in (f"*/{key.file_stem}-*.h5", f"*/{key.file_stem}-*.h5.*.part"):
        paths = [path for path in cache_root().glob(pattern) if not str(path).startswith(own)]
        yield from sorted(paths, key=lambda path: path.stat().st_mtime_ns if path.exists() else 0, reverse=True)


def _copy(file: h5py.File, key: StoreKey, wanted: dict[bytes, list[int]]) -> int:
    """Copy what is wanted of a store or a part; `wanted` loses it."""
    facts = hdf5_files.attributes(file)
    names = json.loads(facts["arrays"])
    contents, readable = file[CONTENT][:], file["readable"][:]
    pairs = [
        (source, target)
        for source in np.flatnonzero(readable).tolist()
        for target in wanted.pop(contents[source].tobytes(), ())
    ]
    if not pairs:
        return 0
    sources, targets = np.array(pairs, np.int64).T
    seconds = float(facts["seconds" if "seconds" in facts else "embed_s"])
    writer = PartWriter(key.path, key.base, pace=seconds / len(contents))
    step = max(1, min(BLOCK, _AT_ONCE // max(1, sum(file[n].nbytes for n in names) // len(contents))))
    for first in range(0, len(contents), step):
        begin, end = np.searchsorted(sources, [first, first + step])
        if end > begin:
            local = sources[begin:end] - first
            writer.add(targets[begin:end], {name: file[name][first : first + step][local] for name in names})
            if writer.bytes > _AT_ONCE:
                writer.flush()
    writer.flush()
    return len(pairs)
