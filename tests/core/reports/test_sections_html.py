"""Plots without script: what is drawn of a section, and that no name is markup."""

import xml.etree.ElementTree as ElementTree

import pytest

from eva_core.contracts.sections import CurvesSection, MatrixSection
from eva_core.reports.sections_html import curves, matrix, plot

MATRIX: MatrixSection = {
    "kind": "matrix",
    "title": "Confusions",
    "note": "",
    "labels": ["<b>tumour & a long name</b>", "stroma"],
    "counts": [[3, 1], [0, 4]],
}
CURVES: CurvesSection = {
    "kind": "curves",
    "title": "ROC",
    "note": "",
    "x": "false positives",
    "y": "true positives",
    "series": [
        {"name": "<x>", "points": [(n / 9999, (n / 9999) ** 0.5) for n in range(10_000)]},
        {"name": "none", "points": []},
    ],
}


def test_a_matrix_shades_each_row_by_its_shares_and_names_both_classes():
    root = ElementTree.fromstring(matrix(MATRIX))
    boxes = root.findall(".//{*}rect")
    assert [float(box.get("fill-opacity", "")) for box in boxes] == pytest.approx([0.715, 0.265, 0.04, 0.94], abs=0.01)
    assert [box[0].text for box in boxes][1] == "<b>tumour & a long name</b> as stroma: 1"
    assert "stroma" in [text.text for text in root.findall(".//{*}text")]


def test_a_matrix_of_many_classes_has_no_names():
    n = 40
    many: MatrixSection = {**MATRIX, "labels": [f"class {k}" for k in range(n)], "counts": [[1.0] * n] * n}
    root = ElementTree.fromstring(matrix(many))
    assert len(root.findall(".//{*}rect")) == n * n
    assert [text.text for text in root.findall(".//{*}text")] == ["predicted, in the same order"]


def test_curves_are_thinned_and_begin_and_end_where_they_did():
    line, empty = ElementTree.fromstring(curves(CURVES)).findall(".//{*}polyline")
    points = line.get("points", "").split()
    assert len(points) < 250
    assert (points[0], points[-1]) == ("18.0,191.0", "208.0,1.0")
    assert empty.get("points") == ""


def test_lines_over_other_ranges_are_steps_without_a_diagonal():
    part: CurvesSection = {
        **CURVES,
        "x": "months",
        "series": [{"name": "a", "points": [(0, 1), (30, 0.5), (60, 0)]}],
        "ranges": ((0, 60), (0, 1)),
        "step": True,
    }
    root = ElementTree.fromstring(curves(part))
    (line,) = root.findall(".//{*}polyline")
    assert line.get("points") == "18.0,1.0 113.0,1.0 113.0,96.0 208.0,96.0 208.0,191.0 208.0,191.0"
    assert root.findall(".//{*}path") == []
    assert "months (0 to 60)" in [text.text for text in root.findall(".//{*}text")]
    assert len(ElementTree.fromstring(curves(CURVES)).findall(".//{*}path")) == 1


def test_no_name_is_markup_and_other_kinds_are_left_out():
    assert "<b>" not in plot(MATRIX)
    assert "<x>" not in plot(CURVES)
    assert plot({"kind": "note", "title": "Gone", "note": ""}) == ""
