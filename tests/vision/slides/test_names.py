"""What slides are called, and which of them a list leaves out."""

import pytest

from eva_vision.slides.names import Excluded, called, names_of


def test_slides_are_called_by_file_name_where_that_tells_them_apart():
    names = ["p1/slide.svs", "p2/slide.svs", "p1/other.svs", "p1/TCGA-AA-0001/x/slide.svs", "TCGA-BB-0002.svs"]
    assert called(names) == [*names[:2], "other.svs", "TCGA-AA-0001/x/slide.svs", "TCGA-BB-0002.svs"]
    assert called(["a/x.svs", "b/x.ndpi"]) == ["a/x.svs", "b/x.ndpi"]  # one name without extension


def test_names_from_the_longest_to_the_file_name():
    assert list(names_of("a/b/c.1.svs")) == ["a/b/c.1.svs", "a/b/c.1", "b/c.1.svs", "b/c.1", "c.1.svs", "c.1"]


NAMES = ["hospA/p1/slide.svs", "hospA/p2/slide.svs", "hospB/p1/x/scan 7.svs", "TCGA-AA-0001/s/slide.svs", "flat.svs"]


@pytest.mark.parametrize(
    ("line", "left_out"),
    [
        ("hospA", [0, 1]),
        ("p1", [0, 2]),
        ("hospA/p1", [0]),
        ("hospA/p1/", [0]),
        ("p1/x", [2]),
        ("hospA/p1/slide.svs", [0]),
        ("p2/slide", [1]),
        ("p2\\slide.svs", [1]),
        ("slide", [0, 1, 3]),
        ("scan 7.svs", [2]),
        ("flat", [4]),
        ("tcga-aa-0001-01Z-00-DX1", [3]),
        ("TCGA-AA-0001/other", [3]),
        ("hosp", []),
        ("A/p1", []),
        ("svs", []),
        ("p1/slide/", [0]),
    ],
)
def test_a_line_is_a_patient_a_folder_or_a_slide(line, left_out):
    excluded = Excluded([f"  {line},\t"])
    assert [n for n, name in enumerate(NAMES) if name in excluded] == left_out
    assert excluded.used == ({line} if left_out else set())


def test_a_file_name_of_several_slides_is_noted():
    excluded = Excluded(["slide", "p1"])
    assert [name in excluded for name in NAMES] == [True, True, True, True, False]
    assert excluded.shared == {"slide": {NAMES[0], NAMES[1], NAMES[3]}}
