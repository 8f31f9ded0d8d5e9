from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_vision.slide_level.manifest import Manifest, number, read_manifest, refuse_crossing_patients
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


def read(root: Path, text: str, encoding: str = "utf-8") -> Manifest:
    file = root / "manifest.csv"
    file.write_text(text, encoding=encoding)
    return read_manifest(file, str(root), None)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("SLIDE;Label;Patient;MPP\na.svs;x;1;0,25\nb.svs;y;2;\n", "utf-8-sig"),  # a German spreadsheet
        ("slide\tlabel\tpatient\tmpp\na.svs\tx\t1\t0.25\nb.svs\ty\t2\t\n", "utf-16"),
        (" slide , label,patient , mpp\n a.svs , x ,1, 0.25 \n\nb.svs,y,2,\n,,,\n", "utf-8"),
        ('slide,label,patient,mpp\r\n"a.svs",x,1,"0,25"\r\nb.svs,y,2,\r\n', "utf-8"),
    ],
)
def test_tables_of_spreadsheets_are_read(root: Path, text: str, encoding: str):
    one, two = read(root, text, encoding).lines
    assert (one.file.name, one.outcome, one.patient, one.file.mpp) == ("a.svs", "x", "1", 0.25)
    assert (two.file.name, two.outcome, two.patient, two.file.mpp) == ("b.svs", "y", "2", None)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0,5", 0.5), ("0,243", 0.243), ("12,75", 12.75), ("-1,5", -1.5), ("1e-3", 0.001), ("1.5", 1.5), ("7", 7.0)]
    + [(text, None) for text in ("1,234", "1.234,5", "NA", "nan", "inf", "", "1 2", "20x")],
)
def test_numbers_have_a_point_or_a_comma(text: str, value: float | None):
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "slide,label,patient\na.svs,,p\nb.svs,,q\n",
            r"a label in every line of .*, but line 2 \(and 1 further\) has none\.",
        ),
        ("slide,label,patient\na.svs,x,p\nb.svs,y,\n", r"a patient in every line of .*, but line 3 has none\."),
        ("slide,label\na.svs,x\n,y\n", "a slide in every line"),
        ("slide,value\na.svs,3\nb.svs,inf\n", "but line 3 has 'inf'"),
        ("slide,time,event\na.svs,-3,1\n", "time as a number of at least 0 .* has '-3'"),
        ("slide,time,event\na.svs,,1\n", "time as a number of at least 0 .* has none"),
        ("slide,time,event\na.svs,3,dead\n", r"event as 0 or 1 \(it happened\) .* has 'dead'"),
        ("slide,time,event\na.svs,3,\n", "event as 0 or 1 .* has none"),
        ("slide,time\na.svs,3\n", "columns time and event in .*, but got slide, time"),
        ("slide,label,split\na.svs,x,train\nb.svs,y,\n", "split as train, val or test .* line 3 has none"),
        ("slide,label,mpp\na.svs,x,20x\n", "mpp above 0 .* has '20x'"),
        ("slide,label,mpp\na.svs,x,0\n", "mpp above 0 .* has '0'"),
        ("slide,label\na.svs,x\n./a.svs,x\n", r"a\.svs stands twice"),
        ("slide,label\n", "lists none"),
        ("", "Expected the columns slide in .*, but got none"),
        ("a.svs,x\n", "Expected the columns slide in .*, but got a.svs, x"),
    ],
)
def test_bad_days_are_told_in_a_line(root: Path, text: str, said: str):
    with pytest.raises(UsageError, match=said) as caught:
        read(root, text)
    assert "\n" not in str(caught.value)


def test_splits_may_be_in_capitals(root: Path):
    assert [line.split for line in read(root, "slide,label,split\na.svs,x,Train\nb.svs,y,TEST\n").lines] == [
        "train",
        "test",
    ]


def test_other_words_for_columns_and_spellings_of_patients_are_asked_about(root: Path, capsys: pytest.CaptureFixture):
    read(root, "slide,label,patient,hospital\na.svs,x,P1,north\nb.svs,y,p1,south\n")
    told = capsys.readouterr().err
    assert "Is 'hospital' meant as 'site'? Then rename it." in told
    assert "are these spellings one patient? P1 = p1" in told
    read(root, "slide,label\na.svs,x\nb.svs,y\n")
    assert "names no patients: every slide counts as a patient of its own" in capsys.readouterr().err
