import sys

import pytest

from eva_core import registry
from eva_core.errors import UsageError
from eva_core.registry import Registry


def test_our_own_names_are_listed_with_package_version_and_summary():
    entry = registry.models.find("colour_stats")
    assert entry.origin == "eva-pathology 0.1.0"
    assert entry.summary == "Evaluate pathology foundation models"
    assert entry.class_path == "eva_vision.models.baselines.colour_stats"


def test_listing_imports_nothing(plugin):
    plugin("boom", "[eva.models]\nbomb = boom:bomb\n", "raise RuntimeError('imported')")
    assert "bomb" in {e.name for e in registry.models.entries()}
    assert "boom" not in sys.modules


def test_unknown_name_suggests_close_ones():
    with pytest.raises(UsageError, match=r"Unknown model 'color_stats'. Did you mean colour_stats"):
        registry.models.find("color_stats")
    with pytest.raises(UsageError, match="`eva heads` lists them"):
        registry.heads.find("zzzzzz")


def test_a_clash_is_an_error_only_for_that_name(plugin):
    plugin("first", "[eva.models]\nshared = first:a\n", "a = 1")
    plugin("second", "[eva.models]\nshared = second:a\nown = second:a\n", "a = 2")
    assert registry.models.load("own") == 2
    with pytest.raises(UsageError, match=r"claimed by first 1\.2\.3 and second 1\.2\.3"):
        registry.models.find("shared")


def test_a_broken_plugin_is_reported_by_package_and_harms_nothing_else(plugin):
    plugin("broken", "[eva.models]\nbad = broken:bad\n", "import nowhere_to_be_found")
    with pytest.raises(UsageError, match=r"'bad' of broken 1\.2\.3 does not import \(ModuleNotFoundError"):
        registry.models.load("bad")
    assert registry.models.load("colour_stats")


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "raise SystemExit('pip install more')"])
def test_a_plugin_that_leaves_as_it_is_imported_does_not_end_eva_as_if_all_were_well(plugin, code):
    name = f"leaves{len(code)}"
    plugin(name, f"[eva.models]\ngone = {name}:gone\n", code)
    with pytest.raises(UsageError, match=rf"'gone' of {name} 1\.2\.3 does not import \(SystemExit"):
        registry.models.load("gone")


def test_what_a_plugin_prints_as_it_is_imported_is_no_result(plugin, capsys):
    plugin("chatty", "[eva.models]\nloud = chatty:loud\n", "print('hello')\nloud = 1")
    assert registry.models.load("loud") == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


@pytest.mark.parametrize(
    "damage",
    [
        lambda info: (info / "METADATA").unlink(),
        lambda info: (info / "METADATA").write_text("Metadata-Version: 2.1\n"),
        lambda info: (info / "entry_points.txt").write_text("[eva.models]\nx = half:x\n = \nlonely\n"),
        lambda info: (info / "entry_points.txt").write_bytes(b"[eva.models]\nx = \xff:x\n"),
    ],
)
def test_a_package_that_is_half_there_costs_its_own_names_alone(plugin, tmp_path, damage):
    plugin("half", "[eva.models]\nx = half:x\n")
    damage(tmp_path / "half-1.2.3.dist-info")
    with pytest.warns(UserWarning, match=r"half-1\.2\.3\.dist-info is an incomplete package"):
        names = {e.name for e in registry.models.entries()}
    assert "colour_stats" in names
    assert "x" not in names


def test_an_illegal_name_is_not_listed(plugin):
    plugin("odd", "[eva.models]\nBad-Name = odd:a\n", "a = 1")
    assert "Bad-Name" not in {e.name for e in registry.models.entries()}


def test_register_in_this_process():
    names = Registry("model")

    @names.register("mine")
    def mine() -> str:
        """A model of mine."""
        return "built"

    assert names.build("mine") == "built"
    assert names.find("mine").summary == "A model of mine."
    with pytest.raises(UsageError, match="a-z, 0-9 and _"):
        names.register("Not-Legal")
