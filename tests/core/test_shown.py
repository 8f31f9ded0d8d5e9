"""No name moves the cursor, is a formula, ends a cell of a table or is a command of TeX."""

import pytest

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
