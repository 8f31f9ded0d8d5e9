import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from eva_core.boards.rows import Cell, Column, Row, Standings
from eva_core.boards.significance import write_comparisons
from eva_core.boards.standings import COMPARISONS
from eva_core.results.record import PREDICTIONS, write_results
from eva_vision.segmentation.scoring.predictions import ImageDice, dice_table


def board(output: Path, metric: str) -> Standings:
    """Three models on forty images of one task: two alike and one worse."""
    rng = np.random.default_rng(0)
    best = rng.uniform(0.6, 0.9, (2, 40))
    best[:, :3] = np.nan
    noise = rng.normal(0, 0.05, (1, 40))
    rows = []
    for name, scores in (("best", best), ("alike", best + noise - noise[0, 3:].mean() - 0.001), ("worse", best - 0.2)):
        part = ImageDice(
            "test", [str(i) for i in range(40)], [f"p{i // 2}" for i in range(40)], scores, scores[..., None]
        )
        (output / name).mkdir()
        pq.write_table(dice_table([part], ["nucleus"], [0, 1]), output / name / PREDICTIONS)
        write_results(output / name, {}, [PREDICTIONS])
        cell = Cell(value=float(np.nanmean(scores)), split="test", folder=name, key=name)
        rows.append(Row(name, "head", {"nuclei": cell}))
    return Standings("b", "b", "p", [Column("nuclei", "segmentation", metric, split="test")], rows, 0, False)


@pytest.mark.parametrize(
    ("metric", "tests", "alike", "worse"), [("dice", 3, True, False), ("iou_pooled", 0, None, None)]
)
def test_segmentations_are_told_apart_by_the_dice_of_images(tmp_path: Path, metric, tests, alike, worse):
    write_comparisons(board(tmp_path, metric), tmp_path)
    found = json.loads((tmp_path / COMPARISONS).read_text())
    assert found["tied"] == {"best": True, "alike": alike, "worse": worse}
