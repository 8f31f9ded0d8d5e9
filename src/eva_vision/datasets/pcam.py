"""PatchCamelyon: lymph nodes with and without metastasis, in HDF5 files."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import UsageError
from eva_core.files.cache import locked
from eva_core.files.tables import read_table
from eva_vision.datasets.published_files import check_counts, tell_crossing
from eva_vision.datasets.published_hdf5 import ImageTables, reading
from eva_vision.download import Remote, obtain, unpack

PARTS = {"train": "train", "val": "valid", "test": "test"}
_RECORD = "https://zenodo.org/records/2546921"
_STEM = "camelyonpatch_level_2_split_"
_SHA256 = {  # of the .gz files, as tensorflow_datasets has them for the same record
    "train_x": "d619e741468a7ab35c7e4a75e6821b7e7e6c9411705d45708f2a0efc8960656c",
    "train_y": "b74126d2c01b20d3661f9b46765d29cf4e4fba6faba29c8e0d09d406331ab75a",
    "valid_x": "f82ee1670d027b4ec388048d9eabc2186b77c009655dae76d624c0ecb053ccb2",
    "valid_y": "ce1ae30f08feb468447971cfd0472e7becd0ad96d877c64120c72571439ae48c",
    "test_x": "79174c2201ad521602a5888be8f36ee10875f37403dd3f2086caf2182ef87245",
    "test_y": "0a522005fccc8bbd04c5a117bfaf81d8da2676f03a29d7499f71d0a0bd6068ef",
}


class Pcam(Dataset):
    """PatchCamelyon: 327,680 patches of 96 px in the official files; the slide is known where `*_meta.csv` is there.

    Source: https://github.com/basveeling/pcam and https://zenodo.org/records/2546921
    """

    card = DatasetCard(
        name="pcam",
        classes=("no_tumor", "tumor"),
        mpp=1.0,
        licence="CC0 1.0",
        citation="Veeling et al. 2018, Rotation Equivariant CNNs for Digital Pathology, "
        "doi:10.1007/978-3-030-00934-2_24",
        access=f"--dataset.download true, or put the .h5.gz and _meta.csv files of {_RECORD} there",
        collections=("CAMELYON16",),
    )
    counts: ClassVar[dict[str, int]] = {"train": 262_144, "val": 32_768, "test": 32_768}
    remotes: ClassVar[tuple[Remote, ...]] = (
        *(
            Remote(f"{_RECORD}/files/{_STEM}{key}.h5.gz?download=1", f"{_STEM}{key}.h5", f"sha256:{digest}")
            for key, digest in _SHA256.items()
        ),
        # No checksum: two places give those of valid and test the other way round. Their rows are counted.
        *(
            Remote(f"{_RECORD}/files/{_STEM}{part}_meta.csv?download=1", f"{_STEM}{part}_meta.csv")
            for part in PARTS.values()
        ),
    )

    def __init__(self, root: str, download: bool = False) -> None:
        """Index the official files; a `.h5.gz` is unpacked beside itself on first use.

        Args:
            root: The folder of `camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5`, or `.h5.gz`.
            download: Fetch and unpack (7 GB, 9 GB unpacked) what is missing.
        Raises:
            UsageError: A file is missing, or its length is not as published.
        """
        folder = Path(root).expanduser()
        if download:
            obtain(self.card, self.remotes, folder)
        self._images = ImageTables("x")
        self.samples = []
        for split, part in PARTS.items():
            images, labels = self._unpacked(folder, part, "x"), self._unpacked(folder, part, "y")
            with reading(labels, "'y'") as file:
                targets = file["y"][:].reshape(-1)
            with reading(images, "'x'") as file:
                x = file["x"]
                if x.ndim != 4 or len(x) != len(targets) or x.shape[3] != 3 or x.dtype != np.uint8:
                    raise UsageError(
                        f"Expected uint8 ({len(targets)}, H, W, 3) in {images}, but got {x.dtype} {x.shape}. "
                        "Get both files again."
                    )
            slides = _slides(folder / f"{_STEM}{part}_meta.csv", len(targets))
            size = images.stat().st_size
            self.samples += [
                Sample(f"{split}_{i:06d}", split, int(target), images, size, group=slides[i])
                for i, target in enumerate(targets)
            ]
        tell_crossing(self.samples, self.card)
        check_counts(folder, self.counts, self.samples, self.card)

    @override
    def image(self, sample: Sample) -> np.ndarray:
        """The pixels of a sample: uint8 RGB, (96, 96, 3)."""
        assert sample.path is not None
        return self._images.image(sample.path, int(sample.id.rpartition("_")[2]))

    @override
    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the file of images, and the number of this one."""
        assert sample.path is not None
        return f"{hashes[sample.path]} {sample.id.rpartition('_')[2]}"

    def duplicates(self) -> dict[str, int]:
        """How many images of each split repeat an earlier image of any split. They stay: the benchmark has them.

        Reads all pixels, which takes minutes.
        """
        hashes: set[int] = set()
        repeats = Counter(dict.fromkeys(self.counts, 0))
        for sample in self.samples:
            key = hash(self.image(sample).tobytes())
            repeats[sample.split] += key in hashes
            hashes.add(key)
        return dict(repeats)

    def _unpacked(self, folder: Path, part: str, kind: str) -> Path:
        path = folder / f"{_STEM}{part}_{kind}.h5"
        packed = path.with_name(f"{path.name}.gz")
        if not path.exists() and packed.exists():
            with locked(folder / f".{path.name}"):
                if not path.exists():  # else another process was here first
                    unpack(packed, folder)
        if not path.is_file():
            raise UsageError(
                f"Expected {path.name} or {packed.name} in {folder}, but neither is there. Set --dataset.root. "
                f"To get it: {self.card.access}."
            )
        return path


def _slides(table: Path, n: int) -> list[str | None]:
    """The slide of each patch, in order; None for all where the table is not there."""
    if not table.exists():
        return [None] * n
    slides = [row["wsi"] or None for row in read_table(table, ("wsi",)).rows]
    if len(slides) != n:
        raise UsageError(f"Expected {n:,} rows in {table}, but got {len(slides):,}. Get the file again.")
    return slides
