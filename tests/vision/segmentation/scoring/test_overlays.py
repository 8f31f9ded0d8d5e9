"""Overlays: every error is one kind, colours are those of the legend, files stay small and whole."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_core.errors import EvaError
from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.scoring import overlays
from eva_vision.segmentation.scoring.overlays import write_overlay

CLASSES = ("background", "lymphocyte", "epithelial")
SWATCH = 16 * 16


def count(path: Path, colour: str) -> int:
    """Pixels of exactly this colour."""
    with Image.open(path) as picture:
        pixels = np.array(picture.convert("RGB"))
    return int((pixels == tuple(bytes.fromhex(colour[1:]))).all(axis=2).sum())


def maps(side: int = 512) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A plain image, a truth with a square of each class, and a prediction like it."""
    image = np.full((side, side, 3), (225, 180, 210), np.uint8)
    truth = np.zeros((side, side), np.uint8)
    truth[20:60, 20:60] = 1
    truth[100:200, 100:200] = 2
    return image, truth, truth.copy()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "overlay.png"


def test_each_error_has_its_colour_and_nothing_else_has_it(path: Path):
    image, truth, prediction = maps()
    prediction[20:30, 20:60] = 0  # 400 missed
    prediction[300:310, 300:310] = 1  # 100 spurious
    prediction[100:102, 100:125] = 1  # 50 confused
    truth[400:500, 400:500] = IGNORE
    prediction[400:450, 400:450] = 2  # ignored: no error
    write_overlay(path, image, truth, prediction, CLASSES, "one, Dice 0.9", 0)
    for kind, pixels in {"missed": 400, "spurious": 100, "confused": 50}.items():
        assert count(path, overlays._ERRORS[kind]) == pixels + SWATCH


def test_a_perfect_prediction_shows_no_error(path: Path):
    write_overlay(path, *maps(), CLASSES, "perfect", 0)
    assert [count(path, colour) for colour in overlays._ERRORS.values()] == [SWATCH] * 3


def test_background_is_untouched_and_classes_have_contours_in_their_colour(path: Path):
    image, truth, prediction = maps()
    write_overlay(path, image, truth, prediction, CLASSES, "one", 0)
    covered = int((truth > 0).sum())
    assert count(path, "#e1b4d2") == 3 * truth.size - 2 * covered
    ring = {side: side**2 - (side - 4) ** 2 for side in (40, 100)}  # two pixels wide
    assert count(path, overlays._PALETTE[0]) == 2 * ring[40] + SWATCH
    assert count(path, overlays._PALETTE[1]) == 2 * ring[100] + SWATCH


def test_without_background_every_class_is_drawn_and_every_error_is_confused(path: Path):
    image, truth, prediction = maps()
    prediction[20:30, 20:60] = 0
    write_overlay(path, image, truth, prediction, CLASSES, "regions", None)
    assert count(path, "#e1b4d2") == truth.size
    assert count(path, overlays._ERRORS["confused"]) == 400 + SWATCH
    assert count(path, overlays._ERRORS["missed"]) == 0


@pytest.mark.parametrize("background", [None, 0, 2])
def test_every_wrong_pixel_that_counts_is_one_kind_of_error(background: int | None):
    rng = np.random.default_rng(0)
    truth, prediction = rng.choice([0, 1, 2, IGNORE], (2, 40, 40)).astype(np.uint8)
    kinds = overlays._errors(truth, prediction, background)
    wrong = (truth != prediction) & (truth != IGNORE)
    np.testing.assert_array_equal(sum(kind.astype(int) for kind in kinds.values()), wrong)


def test_twenty_classes_have_twenty_colours(path: Path):
    truth = np.repeat(np.arange(21, dtype=np.uint8), 15)[:, None].repeat(300, 1)
    image = np.full((*truth.shape, 3), 200, np.uint8)
    write_overlay(path, image, truth, truth, [f"class {k}" for k in range(21)], "many", 0)
    assert len(set(overlays._PALETTE)) == 20
    assert all(count(path, colour) > SWATCH for colour in overlays._PALETTE)


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (900, 2), (40, 30), (1500, 1000)])
def test_any_size(path: Path, size: tuple[int, int]):
    labels = np.zeros(size, np.uint8)
    write_overlay(path, np.zeros((*size, 3), np.uint8), labels, labels, CLASSES, "x" * 500, 0)
    with Image.open(path) as picture:
        assert max(picture.size) < 4 * 700 + 3 * 10 + 2 * 16 + 1


def test_a_picture_that_is_too_large_is_shrunk(path: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 300, 3), np.uint8)
    labels = np.zeros((300, 300), np.uint8)
    write_overlay(path, image, labels, labels, CLASSES, "noise", 0)
    before = path.stat().st_size
    monkeypatch.setattr(overlays, "_MOST_BYTES", before // 2)
    write_overlay(path, image, labels, labels, CLASSES, "noise", 0)
    assert before // 4 < path.stat().st_size <= before // 2


def test_the_same_input_gives_the_same_bytes(path: Path):
    write_overlay(path, *maps(), CLASSES, "one", 0)
    before = path.read_bytes()
    write_overlay(path, *maps(), CLASSES, "one", 0)
    assert path.read_bytes() == before


def test_a_file_is_whole_or_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch):
    path.write_bytes(b"before")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(EvaError, match="disk full"):
        write_overlay(path, *maps(), CLASSES, "one", 0)
    assert path.read_bytes() == b"before"


def test_a_long_title_loses_its_middle():
    font = overlays.ImageFont.load_default(20)
    short = overlays._shortened("folder/" * 40 + "image.png, Dice 0.812", 400, font)
    assert font.getlength(short) <= 400
    assert short.startswith("folder/")
    assert "..." in short
    assert short.endswith("image.png, Dice 0.812")
    assert overlays._shortened("image.png", 400, font) == "image.png"


def test_maps_must_fit(path: Path):
    image, truth, prediction = maps()
    with pytest.raises(
        ValueError, match=r"^Expected a prediction of \(512, 512\) px like the image, but got \(9, 512\)"
    ):
        write_overlay(path, image, truth, prediction[:9], CLASSES, "one", 0)
    truth[0, 0] = 3
    with pytest.raises(ValueError, match=r"^Expected a truth with labels below 3, but got 3\.$"):
        write_overlay(path, image, truth, prediction, CLASSES, "one", 0)
    assert not path.exists()


# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
# Ottosson 2020, OKLab
TO_LMS = [
    [0.41222147, 0.53633254, 0.05144599],
    [0.21190350, 0.68069955, 0.10739696],
    [0.08830246, 0.28171884, 0.62997870],
]
TO_LAB = [
    [0.21045426, 0.79361779, -0.00407205],
    [1.97799850, -2.42859221, 0.45059371],
    [0.02590404, 0.78277177, -0.80867577],
]


@pytest.mark.parametrize("sight", [np.eye(3), PROTANOPIA, DEUTERANOPIA], ids=["all", "protanopia", "deuteranopia"])
@pytest.mark.parametrize(
    ("colours", "apart"),
    [(overlays._PALETTE[:8], 0.10), (overlays._PALETTE, 0.07), (tuple(overlays._ERRORS.values()), 0.2)],
    ids=["eight", "twenty", "errors"],
)
def test_colours_are_told_apart_by_the_colour_blind(colours: tuple[str, ...], apart: float, sight: np.ndarray):
    levels = np.array([tuple(bytes.fromhex(c[1:])) for c in colours]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    seen = np.cbrt((linear @ np.transpose(sight)).clip(0, 1) @ np.transpose(TO_LMS)) @ np.transpose(TO_LAB)
    distances = np.linalg.norm(seen[:, None] - seen, axis=2)
    assert distances[~np.eye(len(colours), dtype=bool)].min() > apart
