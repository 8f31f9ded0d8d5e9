import csv
import io
from pathlib import Path

import pytest

from eva_core.boards.page import write_page
from eva_core.boards.rows import (
    Cell,
    Column,
    Row,
    Standings,
)
from eva_core.boards.tables import as_csv, as_latex, as_markdown


def test_files_beside_the_page(finished: Path):
    lines = list(csv.DictReader((finished / "leaderboard.csv").open()))
    assert len(lines) == 6
    strings = sorted({line["protocol"].rpartition("=")[0] for line in lines if line["value"]})
    assert strings == ["quick+head=simpleshot(draws=3,shots=2)+unpublished", "quick+unpublished"]
    markdown = (finished / "leaderboard.md").read_text()
    assert "| tiny_vit | linear | 0." in markdown or "| tiny_vit | linear | 1." in markdown
    latex = (finished / "leaderboard.tex").read_text()
    assert r"tiny\_vit" in latex
    assert latex.count(r"\\") == 8  # the last says that colour alone does as well
    assert r"$^\S$ No better than a null" in latex
    page = (finished / "leaderboard.html").read_text()
    assert "tiny_vit" in page
    assert "http" not in page.split('type="application/json"')[0]  # nothing is fetched


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
