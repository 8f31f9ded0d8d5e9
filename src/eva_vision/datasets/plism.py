"""PLISM: the same tissue in 13 stains and 7 scanners, tile by tile, to see whether embeddings stay."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import UsageError, refuse, some
from eva_core.files.file_hashes import file_hashes, sampled
from eva_vision.datasets.published_parquet import ParquetImages, Row, find_parts, read_rows
from eva_vision.robustness.contracts import Registered

_PAGE = "owkin/plism-dataset-tiles"


class Plism(Dataset):
    """Tiles of 224 px from 91 slides that were registered to one: a tile shows the same tissue in each.

    Source: https://huggingface.co/datasets/owkin/plism-dataset-tiles
    """

    card = DatasetCard(
        name="plism",
        licence="CC BY 4.0",
        citation="Ochi et al. 2024, Registered multi-device/staining histology image dataset for domain-agnostic "
        "machine learning models, doi:10.1038/s41597-024-03122-5; tiles: Filiot et al. 2025, arXiv:2501.16239",
        access=f"hf download {_PAGE} --repo-type dataset --local-dir data/plism "
        f"(https://huggingface.co/datasets/{_PAGE})",
    )
    numbers: ClassVar[dict[str, int]] = {"slides": 91, "tiles": 16_278}
    """Slides, and tiles of each, as published."""
    registered: Registered

    def __init__(self, root: str, tiles: int = 460) -> None:
        """Index some tiles of each slide, the same of all.

        Args:
            root: The folder of the Parquet files.
            tiles: How many tiles of each slide at most, evenly spaced in the order of their places. To find a tile
                among more is harder: the published values are of 8139, which ask for a GPU.
        Raises:
            UsageError: Files are missing, or slides or tiles are not as published.
            EvaError: A file does not read, or lacks a column.
        """
        self.tiles = tiles
        refuse((tiles < 1, "--dataset.tiles of at least 1", tiles))
        self._images = ParquetImages("png")
        self._numbers: dict[str, int] = {}
        self.samples: list[Sample] = []
        files = find_parts(root, self.card)
        places = _places_of_first_slide(read_rows(files, ("slide_id", "tile_id"), "png"))
        chosen = {places[i] for i in np.linspace(0, len(places) - 1, min(tiles, len(places))).round().astype(int)}
        slides: dict[str, tuple[str, str]] = {}
        counts: Counter[str] = Counter()
        sizes = {path: path.stat().st_size for path in files}
        for row in read_rows(files, ("slide_id", "tile_id"), "png"):
            slide, place = _slide(row), _place(row)
            slides[f"{slide[0]}_{slide[1]}"] = slide
            counts[f"{slide[0]}_{slide[1]}"] += 1
            if place in chosen:
                self._add(row, slide, place, sizes[row.file])
        self._refuse_others(Path(root), counts)
        self.registered = Registered(slides)

    def _add(self, row: Row, slide: tuple[str, str], place: tuple[int, ...], size: int) -> None:
        name = "_".join(slide)
        id = f"{name}/{'_'.join(map(str, place))}"
        self.samples.append(Sample(id, "new", None, row.file, size, group=name, site=slide[1]))
        self._numbers[id] = row.number

    def _refuse_others(self, root: Path, counts: Counter[str]) -> None:
        slides, tiles = self.numbers["slides"], self.numbers["tiles"]
        odd = [f"{name} has {n:,}" for name, n in sorted(counts.items()) if n != tiles]
        if odd or len(counts) != slides:
            raise UsageError(
                f"Expected {slides} slides of {tiles:,} tiles in {root}, but got {len(counts)} slides"
                f"{f', of which {some(odd)}' if odd else ''}. Get the files again."
            )

    @override
    def image(self, sample: Sample) -> np.ndarray:
        """Decode a cell: uint8 RGB, (224, 224, 3)."""
        assert sample.path is not None
        return self._images.image(sample.path, self._numbers[sample.id])

    @override
    def hashes(self) -> Mapping[Path, str]:
        """SHA-256 of samples of each file, as of slides: there are hundreds of GB."""
        return file_hashes((path for s in self.samples for path in self.files(s)), self.card.name, sampled)

    @override
    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the file, and the number of the row."""
        assert sample.path is not None
        return f"{hashes[sample.path]} {self._numbers[sample.id]}"


def _slide(row: Row) -> tuple[str, str]:
    """Stain and scanner, of a slide that is called `GIVH_GT450_to_GMH_S60.tif`."""
    parts = row.facts["slide_id"].split("_")
    if len(parts) < 2:
        raise UsageError(
            f"Expected slide_id as STAIN_SCANNER_... in {row.file}, but row {row.number} has {row.facts['slide_id']!r}."
        )
    return parts[0], parts[1].partition(".")[0]


def _place(row: Row) -> tuple[int, ...]:
    """Level, column and row of a tile that is called `tile_16_10_52`."""
    try:
        level, column, line = (int(part) for part in row.facts["tile_id"].split("_")[1:])
    except ValueError as error:
        raise UsageError(
            f"Expected tile_id as NAME_LEVEL_X_Y in {row.file}, but row {row.number} has {row.facts['tile_id']!r}."
        ) from error
    return level, column, line


def _places_of_first_slide(rows: Iterator[Row]) -> list[tuple[int, ...]]:
    places: list[tuple[int, ...]] = []
    first = None
    for row in rows:
        first = first or row.facts["slide_id"]
        if row.facts["slide_id"] != first:
            break
        places.append(_place(row))
    return sorted(places)
