from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from eva_core.errors import UsageError
from eva_core.files.checksums import Damaged
from eva_core.results.record import PREDICTIONS
from eva_vision.segmentation.scoring.predictions import read_dice
from tests.core.scored import dice, segmentation


def test_dice_is_read_as_it_was_written(tmp_path: Path):
    scores = dice(0)
    folder = segmentation(tmp_path / "a", scores, "m")
    columns = ["id", "split", "run", "group", "dice", "dice_b", "dice_a_b"]
    table = pq.read_table(folder / PREDICTIONS)
    assert table.column_names == columns
    assert table["dice"].null_count == 2 * np.isnan(scores).sum() > 0
    read = read_dice(folder, "test")
    classes = read.labels
    assert classes == ["b", "a_b"]
    assert np.array_equal(read.scores, scores, equal_nan=True)
    assert np.array_equal(read.by_class[..., 0], scores, equal_nan=True)
    assert np.isnan(read.by_class[..., 1]).all()
    assert (read.ids[7], read.groups[7]) == ("image7", "patient1")
    with pytest.raises(UsageError, match="Expected split 'train' in"):
        read_dice(folder, "train")
    (folder / PREDICTIONS).write_bytes(b"PAR1")
    with pytest.raises(Damaged, match=f"{PREDICTIONS} is damaged.*Run `eva fit`"):
        read_dice(folder, "test")
