"""The bags of a dataset: a list of them, in one file, with what is known of every sample."""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from eva_core.errors import EvaError
from eva_core.extraction.engine import refuse_skipped
from eva_core.extraction.settings import Extraction
from eva_core.progress import Bar
from eva_core.store import hdf5_files
from eva_core.store.store import SCHEMA, StoreKey, VectorStore, store_at
from eva_core.store.writer import sample_columns
from eva_vision.slide_level.bags.bag_files import Bag, are_there, read_bag
from eva_vision.slide_level.bags.extract import extract_bags
from eva_vision.slide_level.bags.fill import Model, Reading
from eva_vision.slide_level.contracts import SlideDataset

_FACTS = ("side", "slide_mpp", "width", "height", "candidates")


class BagStore(VectorStore):
    """A finished list of bags: a row is a sample, which has the bags of one slide or several.

    Attributes:
        sample_of: Number of the sample of each bag, ascending, (bags,).
        slide_names: Name of the slide of each bag, (bags,).
        paths: File of each bag, (bags,).
        counts: Number of patches of each bag, (bags,).
        facts: By name, of each bag: `side` of a patch in level-0 pixels, `slide_mpp`, `width`, `height` in level-0
            pixels, and `candidates`, patches of tissue that the slide has, (bags,).
        bag_means: Mean embedding of each bag, float32 (bags, D).
        bag_colours: Mean colour statistics of each bag, float32 (bags, 6).
        patches: Number of patches of each sample, int64 (samples,).
        with_tissue: Whether a sample has any patch, (samples,).
    """

    @override
    def _load(self, file: Mapping[str, Any]) -> bool:
        self.targets = file["targets"][:]
        self.sample_of, self.counts = file["bag_sample"][:], file["bag_count"][:]
        self.slide_names = hdf5_files.texts(file["bag_slide"])
        self.paths = [self.path.parent.parent / path for path in hdf5_files.texts(file["bag_path"])]
        self.facts = {name: file[name][:] for name in _FACTS}
        self.bag_means, self.bag_colours = file["bag_mean"][:], file["bag_colour"][:]
        n = self.attributes["n"]
        self.patches = np.bincount(self.sample_of, self.counts, minlength=n).astype(np.int64)
        self.with_tissue = self.patches > 0
        self._means: dict[str, np.ndarray] = {}
        self.known = np.bincount(self.sample_of, minlength=n) > 0
        self.readable = self.known & self.with_tissue
        return bool(len(self.ids) == n and len(self.targets) == n)

    @property
    @override
    def skipped(self) -> list[str]:
        """Ids of samples of which no slide could be read."""
        return list(self.ids[~self.known])

    @property
    def without_tissue(self) -> list[str]:
        """Ids of samples whose slides have no patch with enough tissue: nothing can be said of them."""
        return list(self.ids[self.known & ~self.with_tissue])

    @override
    def signatures(self, samples: np.ndarray) -> np.ndarray:
        raise EvaError("Expected patients or slides as groups, but some samples have none. Name a group for each.")

    @override
    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The mean embedding over the patches of each sample, float32 (n, D)."""
        vectors: np.ndarray = self.means()[rows]
        return vectors

    def bags_of(self, sample: int) -> range:
        """Numbers of the bags of a sample."""
        first, stop = np.searchsorted(self.sample_of, [sample, sample + 1])
        return range(int(first), int(stop))

    def means(self, what: str = "embeddings") -> np.ndarray:
        """Mean over the patches of each sample, float32 (samples, D); zeros where there is none."""
        if what not in self._means:  # every fold and every null asks anew
            of_bags = self.bag_means if what == "embeddings" else self.bag_colours
            sums = np.zeros((len(self.ids), of_bags.shape[1]))
            np.add.at(sums, self.sample_of, of_bags.astype(np.float64) * self.counts[:, None])
            self._means[what] = (sums / np.maximum(self.patches, 1)[:, None]).astype(np.float32)
        return self._means[what]


def open_bags(
    key: StoreKey, model: Model, dataset: SlideDataset, reading: Reading, how: Extraction, tell: Callable[[str], None]
) -> BagStore:
    """The bags of a dataset, from the cache where it has them.

    Args:
        key: Key of the list.
        model: Gives the embeddings.
        dataset: The slides.
        reading: How their patches are laid out.
        how: Device, batch size and the like.
        tell: Receives lines for the user.
    Raises:
        EvaError: A slide cannot be read (names it), or an embedding is not finite.
    """

    def make() -> None:
        extract_bags([model], reading, how, tell)
        _write_list(key, model, dataset, reading)

    store = store_at(key.path, BagStore, make, tell)
    if not all(are_there(store.paths)):  # somebody tidied the cache
        key.path.unlink()
        store = store_at(key.path, BagStore, make, tell)
    refuse_skipped(store.skipped, how)
    return store


def _write_list(key: StoreKey, model: Model, dataset: SlideDataset, reading: Reading) -> None:
    root, bags = key.path.parent.parent, list[tuple[int, str, Path, Bag]]()
    with Bar("listing bags", len(dataset.samples), "samples") as bar:
        for number, sample in enumerate(dataset.samples):
            for file in dataset.slides(sample):
                path = model.key.path(file, reading.slides[file])
                if (bag := read_bag(path)) is not None:
                    bags.append((number, file.name, path, bag))
            bar.advance(1)
    if not any(bag.count for *_, bag in bags):
        raise EvaError(
            f"Expected tissue on the slides of {dataset.card.name!r}, but none has a patch with enough of it. "
            "Lower the share of tissue of the protocol, or look at one with `eva slides show`."
        )
    dim = next(len(bag.mean) for *_, bag in bags if bag.count)
    seconds = sum(float(bag.facts["seconds"]) for *_, bag in bags)
    patches = sum(bag.count for *_, bag in bags)
    columns = {
        **sample_columns(dataset),
        "bag_sample": np.array([number for number, *_ in bags], np.int64),
        "bag_slide": np.array([name for _, name, *_ in bags], object),
        "bag_path": np.array([str(path.relative_to(root)) for *_, path, _ in bags], object),
        "bag_count": np.array([bag.count for *_, bag in bags], np.int64),
        **{name: np.array([bag.facts[name] for *_, bag in bags]) for name in _FACTS},
        "bag_mean": np.stack([bag.mean if bag.count else np.zeros(dim, np.float32) for *_, bag in bags]),
        "bag_colour": np.stack([bag.colour_mean for *_, bag in bags]),
    }
    facts = {
        "schema": SCHEMA,
        "n": len(dataset.samples),
        "key": key.sha256,
        "identity": json.dumps(key.content, default=str),
        "embed_s": seconds,
        "images_per_s": patches / max(seconds, 1e-9),
        "device": str(bags[0][-1].facts["device"]),
        "torch": version("torch"),
    }
    hdf5_files.write(key.path, {name: hdf5_files.column(values) for name, values in columns.items()}, facts)
