"""What a report shows of a segmentation."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from eva_core.reports.sources import Sources
from eva_core.reports.thumbnails import Thumbnails
from eva_core.results.record import PREDICTIONS, read_results, write_results
from eva_vision.segmentation.scoring.predictions import ImageDice, dice_table
from eva_vision.segmentation.sections import sections
from tests.core.scored import dice

CLASSES = ["background", "tumour"]


def parts_of(folder: Path, scores: np.ndarray) -> dict:
    """The parts of a made-up result with these Dice of images, (R, N); an overlay is there, another is missing."""
    folder.mkdir()
    ids = [f"image{n}" for n in range(scores.shape[1])]
    by_class = np.stack([scores, np.full_like(scores, np.nan)], axis=-1)
    part = ImageDice("test", ids, [""] * len(ids), scores, by_class)
    pq.write_table(dice_table([part], CLASSES, range(len(scores))), folder / PREDICTIONS)
    (folder / "overlays").mkdir()
    Image.new("RGB", (3000, 900), (200, 120, 180)).save(folder / "overlays" / "best.png")
    value = {"mean": 0.5, "std": None, "ci95": None}
    metrics = {f"{kind}{of}": value for kind in ("dice", "iou") for of in ("", *(f"/{c}" for c in CLASSES))}
    pictures = [{"which": w, "file": f"overlays/{w}.png", "id": f"<b>{w}", "score": 0.5} for w in ("best", "worst")]
    results = {
        "task": "segmentation",
        "main": {"split": "test", "metric": "dice"},
        "splits": {"test": {"metrics": metrics}},
        "baselines": {"colour_pixels": {"splits": {"test": {"metrics": metrics}}}},
        "background": "background",
        "overlays": pictures,
    }
    write_results(folder, results, [PREDICTIONS, "overlays/best.png"])
    sources = Sources(folder, read_results(folder), None, Thumbnails(None, None))
    return {found["title"]: found for found in sections(sources)}


def test_images_are_spread_out_and_the_worst_listed(tmp_path: Path):
    scores = dice(0)
    parts = parts_of(tmp_path / "out", scores)
    mean = scores.mean(0)
    assert sum(parts["Images"]["counts"]) == (~np.isnan(mean)).sum()
    rows = parts["Worst images"]["rows"]
    assert [row[0] for row in rows] == [f"image{n}" for n in np.argsort(mean)[:12]]
    assert rows[0][3] is None  # of the class that no image has
    assert parts["Classes"]["rows"][1][:2] == ["tumour", 0.5]
    assert parts["Classes"]["rows"][1][-1] == "0"
    assert "leaves background out" in parts["Classes"]["note"]
    assert parts["Classes"]["columns"][-2] == "Dice of colour_pixels"


def test_overlays_are_in_the_page_and_a_missing_one_is_not(tmp_path: Path):
    best, worst = parts_of(tmp_path / "out", dice(0))["Overlays"]["items"]
    assert best["image"].startswith("data:image/jpeg")
    assert len(best["image"]) < 100_000
    assert worst["image"] == ""


def test_images_without_any_class_are_no_reason_to_fail(tmp_path: Path):
    assert set(parts_of(tmp_path / "out", np.full((1, 3), np.nan))) == {"Overlays", "Classes"}
