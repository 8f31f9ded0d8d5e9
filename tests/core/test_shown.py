"""No name moves the cursor, is a formula, ends a cell of a table or is a command of TeX."""

import csv
import io

import pytest

from eva_core.boards.page import write_page
from eva_core.boards.standings import Cell, Column, Row, Standings
from eva_core.boards.tables import as_csv, as_latex, as_markdown
from eva_core.cli import main
from eva_core.progress import Bar, say
from eva_core.shown import for_markdown, for_matplotlib, for_spreadsheet, for_tex, visible

EVIL = ["\x1b[31mred", "\x1b]8;;http://x\x07link", "a\rb", "a\nb", "\u202egnp.exe", "\x9b2J", "a\u2028b", "\u200bx"]


@pytest.mark.parametrize("text", EVIL)
def test_a_terminal_obeys_nothing(text, capsys):
    for shown in (visible(text), for_markdown(text), for_tex(text), for_spreadsheet(text)):
        assert shown.isprintable()
    say(text)
    with Bar(text, 1, "images"):
        pass
    assert main(["models", text]) == 2
    out, err = capsys.readouterr()
    assert all(line.isprintable() for line in (out + err).split("\n"))


def test_letters_of_every_language_stay():
    for text in ("Größe", "病理", "Ünïcode ± × ‡", "naïve_model(C=0.1)"):
        assert visible(text) == text
        assert for_spreadsheet(text) == text
    assert visible("a\u00a0b") == "a b"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", "\rx", " =cmd|' /C calc'!A0", "＝1"])
def test_no_cell_is_a_formula(text):
    assert for_spreadsheet(text).startswith("'")
    assert [for_spreadsheet(value) for value in (-1.5, None, 3)] == [-1.5, None, 3]


def test_plots_show_every_label():
    assert for_matplotlib("$x^$") == r"\$x^\$"
    assert not for_matplotlib("_hidden").startswith("_")


def board(name: str) -> Standings:
    cells = {"t": Cell(reason=f"{name} failed"), "u": Cell(value=0.5, split="test")}
    return Standings(
        "b", name, "strict", [Column("t"), Column("u", "classification", "auroc")], [Row(name, name, cells)], 0, False
    )


HOSTILE = [
    "=cmd()",
    "a | b",
    "<script>alert(1)</script>",
    r"\input{/etc/passwd}",
    "a$_{b}^c$ & 50% #1 ~",
    "x\x1b[2J\ny",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_boards_hold_names_as_they_are_and_nothing_of_them_works(name, tmp_path):
    found = board(name)
    rows = list(csv.reader(io.StringIO(as_csv(found))))
    assert len({len(row) for row in rows}) == 1
    assert not any(cell[:1] in "=@" and cell for row in rows[1:] for cell in row)
    table = [line for line in as_markdown(found).splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in table} == {table[0].count("|")}
    assert "<script" not in as_markdown(found)
    tex = as_latex(found)
    assert r"\input" not in tex
    assert len(tex.splitlines()) == len(as_latex(board("plain")).splitlines())
    page = write_page(found, tmp_path / "page.html").read_text()
    assert "<script>alert" not in page
    assert "\x1b" not in tex + page + as_markdown(found) + as_csv(found)
