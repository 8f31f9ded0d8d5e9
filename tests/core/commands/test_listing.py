"""Tables that fit the terminal, and rows in the order of a column."""

import pytest

from eva_core.commands.listing import short, sorted_rows, table
from eva_core.errors import UsageError

HEADER = ("NAME", "D", "LICENCE", "WHAT IT IS")
ROWS = [
    ("a_long_name", "1536", "a licence of many words and more", "what it is in a sentence that goes on and on"),
    ("b", "?", "MIT", "short"),
    ("c", "384", "Apache", "another"),
]


@pytest.mark.parametrize("width", [30, 60, 80, 100, 200])
def test_a_table_fits_the_terminal_and_names_stay_whole(width: int):
    lines = table(HEADER, ROWS, width).splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines] == ["NAME", "a_long_name", "b", "c"]


def test_what_is_no_terminal_gets_all_of_it():
    assert table(HEADER, ROWS).splitlines()[1].split("  ")[2:] == list(ROWS[0][2:])


def test_the_last_column_goes_first_on_a_narrow_terminal():
    assert "WHAT IT IS" not in table(HEADER, ROWS, 50)
    assert "a licence of many words and ..." in table(HEADER, ROWS, 50)
    assert "WHAT IT IS" in table(HEADER, ROWS, 80)


def test_numbers_are_sorted_by_size_and_the_unknown_come_last():
    assert [row[0] for row in sorted_rows(HEADER, ROWS, "d")] == ["c", "a_long_name", "b"]
    assert [row[0] for row in sorted_rows(HEADER, ROWS, "what_it_is")] == ["c", "b", "a_long_name"]
    assert sorted_rows(HEADER, ROWS, None) == ROWS
    with pytest.raises(UsageError, match="one of name, d, licence, what_it_is, but got size"):
        sorted_rows(HEADER, ROWS, "size")


def test_a_text_is_cut_at_a_word_where_there_is_one():
    assert short("one two three", 20) == "one two three"
    assert short("one two three four", 14) == "one two ..."
    assert short("onetwothreefourfive", 10) == "onetwot..."
