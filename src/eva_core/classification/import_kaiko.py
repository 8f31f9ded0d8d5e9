"""Embeddings that kaiko-eva wrote: `manifest.csv` and one .pt file an image, into a store."""

import hashlib
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import EvaError, UsageError, some
from eva_core.files.tables import read_table
from eva_core.files.torch_files import load_torch
from eva_core.store.store import Store, StoreKey, store_at
from eva_core.store.writer import PartWriter, merge

COLUMNS = ("origin", "embeddings", "target", "split")


class Imported(Dataset):
    """The index of embeddings whose images are elsewhere."""

    def __init__(self, card: DatasetCard, samples: list[Sample]) -> None:
        self.card, self.samples = card, samples

    @override
    def image(self, sample: Sample) -> np.ndarray:
        """Refuse: there are none."""
        raise UsageError(f"Expected embeddings alone of {self.card.name}, but an image was asked for: {sample.id}.")


def import_folder(folder: Path, model: str, dataset: str, classes: list[str] | None = None) -> Path:
    """Read a folder into the cache.

    Args:
        folder: Holds `manifest.csv` with the columns origin, embeddings, target, split.
        model: Name of the model, for results.
        dataset: Name of the dataset, for results.
        classes: Names in the order of the targets; their numbers unless given.
    Returns:
        The store; it has no colour statistics and no thumbnails, as these need the images.
    Raises:
        UsageError: The manifest lacks a column, or names a file that is missing.
        EvaError: A file is not one embedding.
    """
    lines = _manifest(folder)
    targets = _targets(lines)
    names = classes or [str(n) for n in range(max(targets) + 1)]
    if max(targets) >= len(names):
        raise UsageError(f"Expected {max(targets) + 1} class names, but got {len(names)}: {some(names)}.")
    index = Imported(
        DatasetCard(dataset, classes=tuple(names), access=str(folder)),
        [Sample(line["origin"], line["split"], target) for line, target in zip(lines, targets, strict=True)],
    )
    rows = [_read(folder / line["embeddings"]) for line in lines]
    sizes = {len(row) for row in rows}
    if len(sizes) > 1:
        raise EvaError(f"Expected embeddings of one size in {folder}, but got {some(map(str, sorted(sizes)))}.")
    embeddings = np.stack(rows)
    content: dict[str, Any] = {
        "weights_sha256": hashlib.sha256(embeddings.tobytes()).hexdigest(),
        "preprocess": "imported",
        "dataset": dataset,
        "classes": names,
        "dataset_sha256": index.fingerprint(),
    }
    key = StoreKey(model, dataset, content)

    def make() -> None:
        writer = PartWriter(key.path)
        writer.add(np.arange(len(embeddings)), rows_of(embeddings))
        writer.flush()
        merge(key.path, key, index, {"device": "unknown", "model": model, "imported": True})

    return store_at(key.path, Store, make).path


def _targets(lines: list[dict[str, str]]) -> list[int]:
    """Class of each line; origins must be unique, splits known and targets whole numbers from 0."""
    twice = [origin for origin, n in Counter(line["origin"] for line in lines).items() if n > 1]
    splits = sorted({line["split"] for line in lines} - {"train", "val", "test"})
    wrong = [line["target"] for line in lines if not re.fullmatch(r"\d+(\.0*)?", line["target"])]
    for problem, names in (
        ("each origin once", twice),
        ("split train, val or test", splits),
        ("a class number", wrong),
    ):
        if names:
            raise UsageError(f"Expected {problem} in every line of manifest.csv, but got {some(names)}.")
    return [int(float(line["target"])) for line in lines]


def rows_of(embeddings: np.ndarray) -> dict[str, np.ndarray]:
    """Embeddings (n, D) as rows of a store in which nothing is known of the images."""
    n = len(embeddings)
    return {
        "embeddings": embeddings,
        "colour_stats": np.full((n, 6), np.nan, np.float32),
        "signature": np.full((n, 1024), np.nan, np.float16),
        "short_side": np.zeros(n, np.int64),
        "readable": np.ones(n, bool),
    }


def _manifest(folder: Path) -> list[dict[str, str]]:
    path = folder / "manifest.csv"
    if not path.is_file():
        raise UsageError(f"Expected manifest.csv in {folder}, but there is none. Name the folder that kaiko-eva wrote.")
    lines = read_table(path, COLUMNS).rows
    if not lines:
        raise UsageError(f"Expected lines with {', '.join(COLUMNS)} in {path}, but it is empty.")
    gone = [line["embeddings"] for line in lines if not (folder / line["embeddings"]).is_file()]
    if gone:
        raise UsageError(f"{len(gone)} files of {path} are missing: {some(gone)}.")
    return lines


def _read(path: Path) -> np.ndarray:
    """One embedding, float32 (D,); newer versions wrap it in a list, for several patches of a slide."""
    try:
        value = load_torch(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]  # torch goes on to advise what lets a file run code
        raise EvaError(f"Expected a tensor in {path}, but it does not read ({reason}).") from error
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, torch.Tensor) or value.squeeze().ndim != 1:
        raise EvaError(f"Expected one embedding in {path}, but it holds something else: slides are not imported.")
    if not value.isfinite().all():
        raise EvaError(f"Expected a finite embedding in {path}, but it holds NaN or infinity. Make it again.")
    return value.squeeze().float().numpy()
