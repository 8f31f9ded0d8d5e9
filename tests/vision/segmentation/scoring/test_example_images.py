from pathlib import Path

import numpy as np
from PIL import Image

from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.scoring.example_images import draw_overlays
from eva_vision.segmentation.scoring.scoring import score
from tests.vision.segmentation.tiny import Constant, Painted, laid_out


def test_the_best_the_median_and_the_worst_are_drawn(tmp_path: Path):
    at = laid_out(Painted(train=[(9, 9)], test=[(20, 30), (16, 9), (40, 40), (25, 25)]))
    scored = score(at, [Constant(1)], np.arange(1, 5))
    dice = scored.dice(at)[0][0]
    drawn = draw_overlays(at, scored, Constant(1), tmp_path)
    assert [record["which"] for record in drawn] == ["best", "median", "worst"]
    assert [record["score"] for record in drawn] == [np.max(dice), np.sort(dice)[1], np.min(dice)]
    for record in drawn:
        assert record["id"] == scored.units[int(np.flatnonzero(dice == record["score"])[0])].id
        with Image.open(tmp_path / record["file"]) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 40


class Hidden(Painted):
    """Masks in which nothing counts."""

    def mask(self, sample):
        return np.full_like(super().mask(sample), IGNORE)


def test_nothing_is_drawn_where_nothing_has_a_score(tmp_path: Path):
    at = laid_out(Hidden(train=[(9, 9)], test=[(20, 30)]))
    assert draw_overlays(at, score(at, [Constant(1)], np.array([1])), Constant(1), tmp_path) == []
    assert list(tmp_path.iterdir()) == []
