"""PathoROB: Parquet files with images, and lists of the rows that the published index is of."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eva_core.errors import EvaError, UsageError
from eva_vision.datasets.pathorob import PathoROB, PathorobCamelyon, PathorobTcga, PathorobTolkachEsca
from tests.conftest import picture
from tests.vision.datasets import trees

OF = {
    "pathorob_camelyon": PathorobCamelyon,
    "pathorob_tcga": PathorobTcga,
    "pathorob_tolkach_esca": PathorobTolkachEsca,
}
SLIDES, PATCHES = 3, 4
COUNTS = {"train": 2 * 6 * SLIDES * PATCHES, "test": 12}
"""What the tree holds, in place of the published counts."""


def rows_of(name: str) -> list[dict[str, str]]:
    """In subset ID two centres with three slides of each class, or of one class for two; four patches of each slide."""
    classes = OF[name].card.classes
    cells = [("ID", site, classes[i % len(classes)]) for site in "AB" for i in range(6)]
    cells += [("OOD", "C", classes[i % len(classes)]) for i in range(1)]
    rows = []
    for number, (subset, site, label) in enumerate(cells):
        for slide in range(SLIDES):
            facts = {"subset": subset, "biological_class": label, "medical_center": site}
            rows += [{"slide_id": f"s{number}.{slide}", "patch_id": f"{i}", **facts} for i in range(PATCHES)]
    return rows


def png(seed: int, tint: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(seed, tint, 8)).save(file, "PNG")
    return file.getvalue()


def tree(root: Path, name: str, parts: int = 2, without: str | None = None) -> Path:
    (root / "data").mkdir(parents=True, exist_ok=True)
    rows = rows_of(name)
    names = OF[name].card.classes
    for i, row in enumerate(rows):
        tint = (150 + 15 * names.index(row["biological_class"]), 130, 140 + 40 * "ABC".index(row["medical_center"]))
        row["image"] = {"bytes": png(i, tint), "path": f"{i}.png"}
    for part in range(parts):
        table = pa.Table.from_pylist(rows[part * len(rows) // parts : (part + 1) * len(rows) // parts])
        table = table if without is None else table.drop_columns(without)
        pq.write_table(table, root / f"data/train-{part:05d}-of-{parts:05d}.parquet", row_group_size=10)
    return root


def test_samples_follow_the_rows_and_images_are_decoded_from_them(tmp_path: Path):
    dataset = PathorobCamelyon(str(tree(tmp_path, "pathorob_camelyon")))
    assert len(dataset.samples) == sum(COUNTS.values())
    sample = dataset.samples[79]  # in the second file
    assert sample.path.name == "train-00001-of-00002.parquet"
    assert (sample.id, sample.group, sample.site) == ("s6.1-3", "s6.1", "B")
    assert (sample.split, sample.target) == ("train", 0)
    assert np.array_equal(dataset.image(sample), picture(79, (150, 130, 180), 8))
    assert dataset.samples[-1].split == "test"


LISTS = [("pathorob_tcga", "tcga_2x2.csv"), ("pathorob_tolkach_esca", "tolkach_esca_reduced.csv")]


@pytest.mark.parametrize(("name", "file"), LISTS)
def test_the_published_rows_where_their_list_is_there(name: str, file: str, tmp_path: Path):
    root = tree(tmp_path, name)
    without: PathoROB = OF[name](str(root))
    assert without.benchmark.departures
    assert not without.benchmark.subsets
    rows = rows_of(name)[: 2 * 12]
    listed = [{**row, "subset": f"part{i % 2}"} for i, row in enumerate(rows)]
    trees.write_table(root / file, listed)
    benchmark = OF[name](str(root)).benchmark
    assert benchmark.departures == ()
    assert [len(ids) for ids in benchmark.subsets] == ([12, 12] if name == "pathorob_tcga" else [24])
    trees.write_table(root / file, [{**listed[0], "patch_id": "99"}])
    with pytest.raises(UsageError, match=r"1 of its rows are not in the Parquet files: s0\.0-99"):
        OF[name](str(root))


def test_camelyon_is_measured_on_all_rows_of_its_centres(tmp_path: Path):
    benchmark = PathorobCamelyon(str(tree(tmp_path, "pathorob_camelyon"))).benchmark
    assert (benchmark.k, benchmark.home, benchmark.subsets, benchmark.departures) == (11, "train", (), ())


@pytest.mark.parametrize("column", ["medical_center", "image"])
def test_a_missing_column_is_named(column: str, tmp_path: Path):
    with pytest.raises(EvaError, match=f"it lacks {column}"):
        PathorobCamelyon(str(tree(tmp_path, "pathorob_camelyon", without=column)))


def test_a_file_that_is_cut_or_missing_or_a_row_too_few(tmp_path: Path):
    root = tree(tmp_path, "pathorob_camelyon")
    file = root / "data/train-00001-of-00002.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(EvaError, match="is it cut"):
        PathorobCamelyon(str(root))
    file.unlink()
    with pytest.raises(UsageError, match="1 are missing: train-00001-of-00002"):
        PathorobCamelyon(str(root))
    pq.write_table(pq.read_table(io.BytesIO(content)).slice(1), file)
    with pytest.raises(UsageError, match="143 of 144 in train: 1 missing"):
        PathorobCamelyon(str(root))


def test_an_unknown_class_or_subset_is_refused(tmp_path: Path):
    root = tree(tmp_path, "pathorob_camelyon", parts=1)
    file = root / "data/train-00000-of-00001.parquet"
    table = pq.read_table(file)
    for column in ("subset", "biological_class"):
        values = pa.array(["odd", *table[column].to_pylist()[1:]])
        pq.write_table(table.set_column(table.column_names.index(column), column, values), file)
        with pytest.raises(UsageError, match=f"Expected {column} as one of .* row 0 has 'odd'"):
            PathorobCamelyon(str(root))
