"""Your own images with several labels: the manifest decides, and what cannot be meant is named."""

import math
from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import UsageError
from eva_vision.datasets.label_table import LabelTable
from tests.vision.datasets import trees


def rows(n: int = 24) -> list[dict[str, object]]:
    """Images of two patients a split; `gland` is hard, `mucin` a share of annotators, unknown now and then."""
    splits = ["train"] * (n // 2) + ["val"] * (n // 4) + ["test"] * (n - n // 2 - n // 4)
    return [
        {
            "path": f"images/{number:02d}.png",
            "split": split,
            "group": f"{split}{number % 4}",
            "gland": number % 2,
            "mucin": "" if number % 5 == 4 else [0, 0.25, 0.75, 1][number % 4],
        }
        for number, split in enumerate(splits)
    ]


def tree(root: Path) -> Path:
    return written(root, rows())


def written(root: Path, lines: list[dict[str, object]]) -> Path:
    trees.write_images(root, sorted({str(line["path"]) for line in lines}))
    trees.write_table(root / "manifest.csv", lines)
    return root


def test_each_further_column_is_a_label(tmp_path: Path):
    dataset = LabelTable(str(tree(tmp_path)))
    assert dataset.card.classes == ("gland", "mucin")
    targets = np.array([s.target for s in dataset.samples])
    assert targets[:6, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert np.array_equal(targets[:6, 1], [0, 0.25, 0.75, 1, math.nan, 0.25], equal_nan=True)
    assert LabelTable(str(tmp_path), ["mucin"]).card.classes == ("mucin",)
    assert LabelTable(str(tmp_path), ["mucin"]).fingerprint() != dataset.fingerprint()


def test_lines_without_a_split_are_for_predicting(tmp_path: Path):
    lines = [*rows(), {"path": "images/x.png", "split": "", "group": "x", "gland": "", "mucin": "NA"}]
    assert LabelTable(str(written(tmp_path, lines))).samples[-1].target is None


def test_what_is_wrong_is_named_in_a_line(tmp_path: Path):
    for number, (change, said) in enumerate(
        (
            ({"gland": "1.5"}, "as 'gland' in line 3 of .*, but got '1.5'"),
            ({"gland": "yes"}, "got 'yes'. Correct it. If it is no label"),
            ({"gland": "-1"}, "got '-1'"),
            ({"path": "images/00.png"}, "the same path stands twice"),
            ({"group": "test3"}, "test3"),
            ({"split": "fold1"}, "Expected split to be train, val or test"),
        )
    ):
        lines = rows()
        lines[1] |= change
        with pytest.raises(UsageError, match=said):
            LabelTable(str(written(tmp_path / str(number), lines)))


def test_columns_and_files_that_are_missing_are_named(tmp_path: Path):
    root = tree(tmp_path)
    with pytest.raises(UsageError, match="Expected the columns path, gland, necrosis"):
        LabelTable(str(root), ["gland", "necrosis"])
    (root / "images/03.png").unlink()
    with pytest.raises(UsageError, match=r"1 files of the manifest are missing: .*03\.png"):
        LabelTable(str(root))
    plain = [{name: line[name] for name in ("path", "split", "group")} for line in rows()]
    with pytest.raises(UsageError, match="Expected a column for each label"):
        LabelTable(str(written(tmp_path / "plain", plain)))
    patients = [{("patient" if name == "group" else name): value for name, value in line.items()} for line in rows()]
    with pytest.raises(UsageError, match="patients or slides in a column 'group'"):
        LabelTable(str(written(tmp_path / "patients", patients)))
    with pytest.raises(UsageError, match=r"Expected manifest\.csv"):
        LabelTable(str(tmp_path / "nowhere"))
