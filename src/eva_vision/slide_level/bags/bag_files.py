"""Two files for the bag of a slide: written at once, or in parts that survive a kill where the slide takes long.

One has `embeddings` (n, D) float32 or float16, `colour_stats` (n, 6) float32, and `coords` (n, 2) int32 in level-0
pixels. The other, written after it, is a line of JSON behind its digest, with what a list of thousands of bags needs
of each: means and facts, so that no bag is read to know of it, and HDF5, which takes milliseconds a file, is not asked.
"""

import base64
import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eva_core.errors import EvaError
from eva_core.files.atomic_files import make_folder, write_bytes
from eva_core.files.checksums import Damaged, not_read, sha256
from eva_core.store import hdf5_files
from eva_core.store.store import remove_parts
from eva_core.store.writer import ROW, PartWriter, finished_parts
from eva_vision.slide_level.bags.places import Places

SCHEMA = 1
ROWS = ("embeddings", "colour_stats")
_THREADS = 16  # each waits for a file system that others share


@dataclass(frozen=True)
class Bag:
    """What is known of a bag without its embeddings.

    Attributes:
        count: Number of patches.
        mean: Mean embedding, float32 (D,); zeros for an empty bag.
        colour_mean: Mean colour statistics, float32 (6,).
        facts: Attributes of the file: `candidates`, `side`, `mpp`, `width`, `height`, `slide_mpp`, `seconds`, `device`.
    """

    count: int
    mean: np.ndarray
    colour_mean: np.ndarray
    facts: dict[str, Any]


class BagWriter:
    """Collects the patches of one slide."""

    def __init__(self, path: Path, places: Places, dtype: np.dtype[Any], facts: dict[str, Any], seconds: float) -> None:
        """Begin, or go on from the parts that an earlier call left.

        Args:
            path: The file that is to be.
            places: The patches.
            dtype: What embeddings are kept in.
            facts: Attributes for the file.
            seconds: Work after which a part is written.
        """
        self.path, self.places, self.dtype, self.facts, self._pace = path, places, dtype, facts, seconds
        make_folder(path.parent)
        self._writer = PartWriter(path)
        self._kept: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
        self._began = time.monotonic()

    def add(self, rows: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """Take some patches: their numbers (b,), and the arrays of `ROWS`.

        Raises:
            EvaError: An embedding is not finite in what it is kept in.
        """
        with np.errstate(over="ignore"):  # said below, with the patch
            kept = {**values, "embeddings": values["embeddings"].astype(self.dtype)}
        bad = np.flatnonzero(~np.isfinite(kept["embeddings"]).all(1))
        if len(bad):
            x, y = self.places.coords[rows[bad[0]]].tolist()
            advice = "Check the weights" if self.dtype == np.float32 else "Keep them with precision: fp32"
            raise EvaError(
                f"Expected finite embeddings, but the patch at {x}, {y} of {self.facts['slide']} gave others. {advice}."
            )
        self._kept.append((rows, kept))
        self._writer.add(rows, kept)
        if self._writer.seconds > self._pace:
            self._writer.flush()

    def keep(self) -> None:
        """Write what was collected as a part: the work is cut short."""
        self._writer.flush()

    def finish(self) -> None:
        """Write the bag, and remove its parts.

        Raises:
            EvaError: A patch is missing, or there is no room.
        """
        n, arrays = len(self.places.coords), dict[str, np.ndarray]()
        filled = np.zeros(n, bool)
        for rows, values in [*self._parts(), *self._kept]:
            for name in ROWS:
                if name not in arrays:
                    arrays[name] = np.zeros((n, values[name].shape[1]), values[name].dtype)
                arrays[name][rows] = values[name]
            filled[rows] = True
        if not filled.all():
            raise EvaError(f"Expected {n} patches of {self.facts['slide']}, but got {filled.sum()}. Run again.")
        if not n:  # a slide without tissue is a bag, too: it is not looked at again
            arrays = {"embeddings": np.zeros((0, 1), self.dtype), "colour_stats": np.zeros((0, 6), np.float32)}
        facts = {
            **self.facts,
            "bag_schema": SCHEMA,
            "count": n,
            "side": self.places.side,
            "mpp": self.places.mpp,
            "candidates": self.places.candidates,
            "seconds": time.monotonic() - self._began,
        }
        columns = {**arrays, "coords": self.places.coords}
        hdf5_files.write(self.path, {name: hdf5_files.column(values) for name, values in columns.items()}, facts)
        remove_parts(self.path)
        _write_summary(self.path, _bag(arrays["embeddings"], arrays["colour_stats"], facts))

    def _parts(self) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        parts = []
        for path in finished_parts(self.path):
            with hdf5_files.reading(path) as file:
                parts.append((file[ROW][:], {name: file[name][:] for name in ROWS}))
        return parts


def _mean(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return np.zeros(values.shape[1], np.float32)
    mean: np.ndarray = values.mean(0, dtype=np.float64).astype(np.float32)
    return mean


def is_there(path: Path) -> bool:
    """Whether a bag is there; what it holds is tried when it is read.

    Raises:
        EvaError: That cannot be seen.
    """
    return hdf5_files.there(path)


def are_there(paths: Iterable[Path]) -> list[bool]:
    """`is_there` of each of many, several at a time: a file system of a cluster takes its time for each."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(is_there, paths))


def read_bag(path: Path) -> Bag | None:
    """What is known of a bag; None where there is none, or a damaged one.

    Raises:
        EvaError: It could not be read.
    """
    if not is_there(path):
        return None
    bag = _read_summary(path)
    if bag is None:  # a kill came between, or it was tidied away: the bag says the same
        remove_parts(path)
        try:
            with hdf5_files.reading(path) as file:
                bag = _bag(file["embeddings"][:], file["colour_stats"][:], hdf5_files.attributes(file))
        except Damaged:
            return None
        _write_summary(path, bag)
    return bag if bag.facts["bag_schema"] == SCHEMA else None


def _bag(embeddings: np.ndarray, colours: np.ndarray, facts: dict[str, Any]) -> Bag:
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in facts.items()}
    return Bag(len(embeddings), _mean(embeddings), _mean(colours), plain)


def _summary(path: Path) -> Path:
    return path.with_suffix(".json")


def _write_summary(path: Path, bag: Bag) -> None:
    means = (base64.b64encode(mean.astype("<f4").tobytes()).decode() for mean in (bag.mean, bag.colour_mean))
    content = json.dumps([bag.count, *means, bag.facts]).encode()
    write_bytes(_summary(path), f"{sha256(content)}\n".encode() + content)


def _read_summary(path: Path) -> Bag | None:
    try:
        digest, _, content = _summary(path).read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise not_read(_summary(path), error) from error
    if sha256(content).encode() != digest:
        return None
    count, *means, facts = json.loads(content)
    mean, colour_mean = (np.frombuffer(base64.b64decode(values), "<f4") for values in means)
    return Bag(count, mean, colour_mean, facts)


def read_rows(path: Path, what: str = "embeddings") -> np.ndarray:
    """An array of a bag: `embeddings`, `colour_stats` or `coords`."""
    with hdf5_files.reading(path) as file:
        values: np.ndarray = file[what][:]
    return values
