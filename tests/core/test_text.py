import pytest

from eva_core.text import folded, printable


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/b.png", "a/b.png"), ("Gewebe ä", "Gewebe ä"), ("Dr\udcfcse.png", "Dr\\xfcse.png"), ("\ud800", "\\ud800")],
)
def test_any_name_can_be_written_down(name: str, expected: str):
    assert printable(name) == expected
    assert printable(name).encode().decode() == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Tumour", "tumour"),
        (" tumour\u00a0", "tumour"),
        ("in  situ", "in situ"),
        ("Ga\u0308nse", "G\u00e4nse"),
        ("\ufefftumour", "tumour"),
        ("tu\u200bmour", "tumour"),
        ("1.0", "1"),
        ("01", "1"),
        ("+3", "3"),
        ("µm", "μm"),
    ],
)
def test_spellings_of_a_name_fold_to_one(one: str, other: str):
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("tumour", "tumor"), ("grade 1", "grade 2"), ("1.5", "1"), ("-1", "1"), ("10", "1"), ("0", "00.1"), ("a b", "ab")],
)
def test_other_names_stay_apart(one: str, other: str):
    assert folded(one) != folded(other)
