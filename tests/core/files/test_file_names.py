"""Names from outside never lead out of the folder that they are put in."""

from pathlib import Path

import pytest

from eva_core.cli import main
from eva_core.contracts.cards import DatasetCard
from eva_core.errors import EvaError, UsageError
from eva_core.files.file_names import LONGEST, as_name, below, check_name, is_name

WRONG = [
    *("", ".", "..", "a/b", "/tmp/a", "../a", "a\\b", "C:a", "~", "~root", "a\0b", "a\nb", "a\x1b[31m", "\u202eexe"),
    *("con", "NUL", "Com1.txt", "lpt9", "a.", "a ", " ", "x" * (LONGEST + 1), "é" * LONGEST, "a*", "a?", 'a"', "a|b"),
]
RIGHT = [
    "folder",
    "my data 2",
    "uni2_h",
    "simpleshot(draws=10,shots=4)",
    "Größe",
    "病理",
    "a.b-c",
    "console",
    "x" * LONGEST,
]


@pytest.mark.parametrize("name", WRONG)
def test_names_that_are_no_file_s_are_refused(name):
    assert not is_name(name)
    with pytest.raises(UsageError, match="a model's name that can be a file's name") as error:
        check_name(name, "a model's name")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", RIGHT)
def test_names_that_are_a_file_s_stay(name):
    check_name(name, "a name")
    assert as_name(name) == name


@pytest.mark.parametrize("name", WRONG)
def test_any_text_becomes_a_name(name):
    assert is_name(as_name(name))


@pytest.mark.parametrize("name", ["/etc/passwd", "../a", "a/../../b", "", "a\0b"])
def test_ids_stay_below_their_folder(name):
    with pytest.raises(EvaError, match="stays below"):
        below(Path("out"), name)
    assert below(Path("out"), "a/b..c.png") == Path("out/a/b..c.png")


@pytest.mark.parametrize("name", ["../up", "/tmp/away", "a\x1b]8;;http://x\x07b", "nul"])
def test_a_dataset_is_not_called_so(name, tree, cache, tmp_path):
    with pytest.raises(UsageError, match="a dataset's name"):
        DatasetCard(name)
    before = {*cache.parent.rglob("*.h5")}
    argv = ["predict", "--config", "folder", "--dataset.root", str(tree), "--model", "colour_stats", "--dataset.name"]
    assert main([*argv, name]) == 2
    assert {*cache.parent.rglob("*.h5")} == before
