from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_vision.slide_level.manifest import read_manifest, refuse_crossing_patients
from tests.vision.slide_level.conftest import write_manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.svs", "b.svs"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_line_a_slide(root: Path):
    rows = [
        {"slide": f"{n}.svs", "time": "12.5", "event": e, "patient": "p", "mpp": ""} for n, e in (("a", 0), ("b", 1))
    ]
    read = read_manifest(write_manifest(root, rows), str(root), None)
    assert read.kind == "survival"
    assert [line.outcome for line in read.lines] == [(12.5, 0.0), (12.5, 1.0)]
    assert read.lines[0].file.path == str(root / "a.svs")
    assert read.lines[0].file.mpp is None


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"label": ""}, "Expected a label in every line"),
        ({"value": "high"}, "Expected a number as value"),
        ({"time": "-1", "event": "1"}, "time as a number of at least 0"),
        ({"time": "3", "event": "2"}, "event as 0 or 1"),
        ({"label": "x", "mpp": "-0.5"}, "mpp above 0"),
        ({"label": "x", "split": "trian"}, "split as train, val or test"),
        ({"label": "x", "value": "3"}, "name one with --dataset.outcome"),
        ({"diagnosis": "x"}, "a column label, a column value, or columns time and event"),
    ],
)
def test_wrong_lines_are_named(root: Path, row: dict[str, str], line: str):
    file = write_manifest(root, [{"slide": "a.svs", **row}])
    with pytest.raises(UsageError, match=line):
        read_manifest(file, str(root), None)


def test_slides_that_are_missing_or_twice_are_named(root: Path):
    file = write_manifest(root, [{"slide": "a.svs", "label": "x"}, {"slide": "c.svs", "label": "y"}])
    with pytest.raises(UsageError, match=r"1 of 2 slides are not below .*: c.svs"):
        read_manifest(file, str(root), None)
    file = write_manifest(root, [{"slide": "a.svs", "label": "x"}] * 2)
    with pytest.raises(UsageError, match=r"a\.svs stands twice"):
        read_manifest(file, str(root), None)


def test_addresses_are_not_looked_at(root: Path):
    file = write_manifest(root, [{"slide": "a.svs", "label": "x"}, {"slide": "s3://other/b.svs", "label": "y"}])
    paths = [line.file.path for line in read_manifest(file, "s3://bucket/slides/", None).lines]
    assert paths == ["s3://bucket/slides/a.svs", "s3://other/b.svs"]


def test_a_patient_in_two_splits_is_named(root: Path):
    rows = [{"slide": f"{n}.svs", "label": n, "patient": "p", "split": s} for n, s in (("a", "train"), ("b", "test"))]
    file = write_manifest(root, rows)
    with pytest.raises(UsageError, match="1 patients cross splits"):
        refuse_crossing_patients(file, read_manifest(file, str(root), None).lines)
