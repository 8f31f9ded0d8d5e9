import io
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eva_core.contracts.cards import DatasetCard
from eva_core.errors import EvaError, UsageError
from eva_vision.datasets.published_parquet import ParquetImages, find_parts, read_rows
from tests.conftest import picture

CARD = DatasetCard("toy", access="from its page")


def content(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(seed, size=8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [{"name": f"n{i}", "image": {"bytes": content(i), "path": None}} for i in range(7)]
    rows.append({"name": "nothing", "image": {"bytes": None, "path": "elsewhere.png"}})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "toy.parquet", row_group_size=3)
    return tmp_path / "toy.parquet"


def test_images_by_row_in_any_order_one_row_group_in_memory(file: Path):
    images = ParquetImages("image")
    for number in (6, 0, 5, 2):
        assert np.array_equal(images.image(file, number), picture(number, size=8))
        assert len(images._held[2]) <= 3


def test_other_processes_open_the_file_themselves(file: Path):
    images = ParquetImages("image")
    images.image(file, 0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.starmap(images.image, [(file, n) for n in range(7)])
    assert all(np.array_equal(image, picture(n, size=8)) for n, image in enumerate(results))
    assert pickle.loads(pickle.dumps(images)).image(file, 1).shape == (8, 8, 3)


def test_a_cell_without_bytes(file: Path):
    with pytest.raises(OSError, match=r"row 7 of .* holds no bytes"):
        ParquetImages("image").image(file, 7)


def test_rows_without_their_images(file: Path):
    rows = list(read_rows([file], ["name"], "image"))
    assert [(row.number, row.facts) for row in rows[:2]] == [(0, {"name": "n0"}), (1, {"name": "n1"})]
    pq.write_table(pa.Table.from_pylist([{"name": None, "image": None}], schema=pq.read_schema(file)), file)
    with pytest.raises(EvaError, match="Expected a value of name in row 0"):
        list(read_rows([file], ["name"], "image"))


def test_hidden_files_are_not_looked_at_and_nothing_is_said_with_how_to_get_it(tmp_path: Path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/a.parquet").touch()
    with pytest.raises(UsageError, match=r"there are none\. .* from its page"):
        find_parts(tmp_path, CARD)
    (tmp_path / "b.parquet").touch()
    assert find_parts(tmp_path, CARD) == [tmp_path / "b.parquet"]
