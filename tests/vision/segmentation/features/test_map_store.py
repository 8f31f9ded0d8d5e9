"""A store of feature maps: the class by which its samples are balanced."""

from pathlib import Path

import numpy as np
from PIL import Image

from eva_vision.datasets.mask_folder import MaskFolder
from tests.vision.segmentation.tiny import (
    CLASSES,
    PALETTE,
    Pixels,
    extracted,
    protocol,
)


def test_a_hold_out_is_balanced_by_the_class_that_is_not_background(tmp_path: Path):
    for split, labels in (("train", (1, 2, 0)), ("val", (0,))):
        for folder in ("images", "masks"):
            (tmp_path / split / folder).mkdir(parents=True)
        for label in labels:
            mask = np.zeros((16, 16), np.uint8)
            mask[:4] = label
            Image.fromarray(mask).save(tmp_path / split / "masks" / f"{label}.png")
            Image.fromarray(PALETTE[mask]).save(tmp_path / split / "images" / f"{label}.png")
    store = extracted(MaskFolder(str(tmp_path), classes=list(CLASSES)), Pixels(), protocol())
    assert store.targets.tolist() == [0, 1, 2, 0]
