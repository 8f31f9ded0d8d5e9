import codecs
from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_core.files.tables import Table, read_table, read_text


def table(folder: Path, content: str | bytes, *required: str, optional: tuple[str, ...] = ()) -> Table:
    file = folder / "t.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(file, required, optional)


def refusal(folder: Path, content: str | bytes, *required: str) -> str:
    with pytest.raises(UsageError) as caught:
        table(folder, content, *required)
    assert "\n" not in str(caught.value)
    assert "t.csv" in str(caught.value)
    return str(caught.value)


ENCODED = [
    *("utf-8", "utf-8-sig"),
    *("utf-16", "utf-32"),  # with a mark
]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ENCODED)
def test_whatever_a_spreadsheet_saves_is_read(tmp_path: Path, encoding: str, delimiter: str, newline: str):
    text = 'path,label\n a.png ,ä\n\nb.png,"x, y; z"\n,\n'
    text = 'path,label\n a.png ,ä\n\nb.png,"x y z"\n,\n'.replace(",", delimiter).replace("\n", newline)
    found = table(tmp_path, text.encode(encoding), "path", "label")
    assert found.rows == [{"path": "a.png", "label": "ä"}, {"path": "b.png", "label": "x y z"}]


def test_big_endian_utf_16_is_known_by_its_mark(tmp_path: Path):
    content = codecs.BOM_UTF16_BE + "path\nä.png\n".encode("utf-16-be")
    assert table(tmp_path, content, "path").rows == [{"path": "ä.png"}]


def test_the_delimiter_may_be_named_in_a_first_line(tmp_path: Path):
    found = table(tmp_path, "sep=;\npath;label\na.png;x\n", "path", "label")
    assert found.rows == [{"path": "a.png", "label": "x"}]
    assert found.lines == [3]


def test_a_value_may_hold_the_delimiter_in_quotes(tmp_path: Path):
    assert table(tmp_path, 'path,label\n"a, b.png",x\n', "path").rows == [{"path": "a, b.png"}]


@pytest.mark.parametrize(
    "header", ["path,label,group", "Path, Label , GROUP", "\ufeffpath,label,\u00a0group", '"path","label","group "']
)
def test_columns_are_known_without_case_and_spaces(tmp_path: Path, header: str):
    found = table(tmp_path, f"{header}\na.png,x,p1\n", "path", "label", optional=("group",))
    assert found.rows == [{"path": "a.png", "label": "x", "group": "p1"}]
    assert found.columns == ("path", "label", "group")
    assert found.unread({}) is None


def test_one_unicode_form_stands_for_all(tmp_path: Path):
    assert table(tmp_path, "Gru\u0308n\n1\n", "gr\u00fcn").rows == [{"gr\u00fcn": "1"}]


def test_columns_that_are_not_read_are_told_with_what_they_may_mean(tmp_path: Path):
    text = "path,age,gruop,Case ID,\na.png,60,p1,7,9\n"
    found = table(tmp_path, text, "path", optional=("group", "id"))
    assert found.rows == [{"path": "a.png"}]
    said = found.unread({"group": {"case id"}})
    assert said is not None
    assert "not read: age, gruop, Case ID, (no name)." in said
    assert "'Case ID' meant as 'group'" in said


def test_a_near_name_is_suggested_among_those_that_could_be_there(tmp_path: Path):
    found = table(tmp_path, "path,lable\na.png,x\n", "path", optional=("label", "split"))
    said = found.unread({})
    assert said is not None
    assert "Is 'lable' meant as 'label'?" in said
    assert "Is 'pth' meant as 'path'?" in refusal(tmp_path, "pth,label\na.png,x\n", "path")


def test_empty_columns_at_the_end_are_passed_over(tmp_path: Path):
    found = table(tmp_path, "path,label,,\na.png,x,,\nb.png,y,,,,\n", "path", "label")
    assert [row["label"] for row in found.rows] == ["x", "y"]
    assert found.unread({}) is None


@pytest.mark.parametrize("header", ["path,label,Label", "path,path ,label", "path,label,note,NOTE"])
def test_a_column_that_stands_twice_is_refused(tmp_path: Path, header: str):
    assert "once" in refusal(tmp_path, f"{header}\n" + ",".join("a" * (header.count(",") + 1)), "path", "label")


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("a.png,x,train\nb.png,y\n", "line 3 has 2"),
        ("a.png,x,train\n\nb.png,tumour, high,train\n", "line 4 has 4"),
        ("a.png,x,train\nb.png;y;train\n", "line 3 has 1"),
        ("a.png\tx\ttrain\n", "line 2 has 1"),
        ("a.png,x,train\n;;\n", "line 3 has 1"),
        ("a\n" * 9, "line 6 has 1 and 4 more"),
    ],
)
def test_lines_of_other_lengths_are_named(tmp_path: Path, rows: str, named: str):
    message = refusal(tmp_path, f"path,label,split\n{rows}", "path")
    assert named in message
    assert "Expected 3 fields" in message


@pytest.mark.parametrize(
    "text", ['path,label\n"a.png,x\nb.png,y\n', 'path,label\n"a.png,x\nb.png,"y\n', 'path,label\n"a"b.png,x\n']
)
def test_a_quote_that_is_not_closed_swallows_no_lines(tmp_path: Path, text: str):
    assert "line 2" in refusal(tmp_path, text, "path")


def test_another_encoding_is_named_by_its_line(tmp_path: Path):
    assert "line 3" in refusal(tmp_path, "path\na.png\nä.png\n".encode("latin-1"), "path")
    assert "line 2 holds zero bytes" in refusal(tmp_path, b"path\na\0.png\n", "path")
    assert "zero bytes" in refusal(tmp_path, "path\na.png\n".encode("utf-16-le"), "path")


def test_what_is_not_there_or_empty_is_said(tmp_path: Path):
    with pytest.raises(UsageError, match="does not exist"):
        read_text(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="does not read"):
        read_text(tmp_path)
    assert "got none" in refusal(tmp_path, "", "path")
    assert table(tmp_path, "path\n", "path").rows == []
