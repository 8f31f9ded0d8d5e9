"""Eight tiny slides with labels that their tissue has, and a toy task on them."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from eva_core.config.jobs import job_of
from eva_core.config.protocols import load_protocol
from eva_core.extraction.settings import Extraction
from eva_core.job import Job
from eva_vision.datasets.slide_folder import SlideFolder
from eva_vision.slide_level.protocol import SlideLevel

SIDE, MPP = 512, 0.5
HOW = Extraction(device="cpu", workers=0, batch_size=4)


def write_slide(path: Path, tint: Sequence[int], seed: int, share: float = 0.9) -> Path:
    """A tiled TIFF of coloured noise on glass, which is tissue to us, from the left to a share of its width."""
    rng = np.random.default_rng(seed)
    pixels = np.full((SIDE, SIDE, 3), 243, np.uint8)
    width = int(SIDE * share)
    noise = rng.normal(0, 12, (SIDE, width, 3))
    pixels[:, :width] = np.clip(np.array(tint) + noise, 0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    resolution = (1e4 / MPP, 1e4 / MPP)
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", resolution=resolution, resolutionunit=3)
    return path


def write_manifest(root: Path, rows: Sequence[dict[str, object]]) -> Path:
    file = root / "manifest.csv"
    with file.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return file


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve slides of ten patients; the colour tells the label."""
    root = tmp_path_factory.mktemp("slides")
    rows = []
    for number in range(12):
        label = number % 2
        write_slide(root / f"s{number:02d}.tif", (150, 60, 150) if label else (205, 120, 170), number)
        patient = f"p{number % 10 if number % 10 > 1 else number % 2}"  # patients 0 and 1 have two slides each
        rows.append({"slide": f"s{number:02d}.tif", "patient": patient, "label": "ab"[label], "site": "xy"[number > 5]})
    write_manifest(root, rows)
    return root


@pytest.fixture
def dataset(slides: Path) -> SlideFolder:
    return SlideFolder(str(slides))


@pytest.fixture
def section() -> SlideLevel:
    return SlideLevel(heads=("mean_logreg",), mpp=1.0, size=64, patches=6, tissue=0.4, runs=2, epochs=4, folds=3)


@pytest.fixture
def job(dataset: SlideFolder, section: SlideLevel) -> Job:
    protocol = replace(load_protocol("strict"), slide_classification=section)  # type: ignore[call-arg]
    return job_of("colour_stats", dataset, "mean_logreg", protocol, HOW)


def quick(task: str) -> Any:
    """The strict protocol with a section for tiny slides."""
    small = {"mpp": 1.0, "size": 64, "patches": 6, "tissue": 0.4, "runs": 2, "epochs": 4, "folds": 3}
    strict = load_protocol("strict")
    return replace(strict, **{task: replace(getattr(strict, task), **small)})


def relabelled(slides: Path, root: Path, outcome: Callable[[int], dict[str, object]]) -> Path:
    """A manifest of other outcomes for the twelve slides, each a patient of its own."""
    root.mkdir(exist_ok=True)
    write_manifest(
        root, [{"slide": str(slides / f"s{n:02d}.tif"), "patient": f"q{n}", **outcome(n)} for n in range(12)]
    )
    return root
