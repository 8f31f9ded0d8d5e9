"""What is read from a source without importing it is what an import gives."""

import inspect
import sys
from pathlib import Path

import pytest

from eva_core import registry
from eva_core.source import find_spec, read_definition

ENTRIES = [
    entry
    for names in (registry.models, registry.datasets, registry.heads, registry.methods, registry.tasks)
    for entry in names.entries()
    if entry.package == "eva-pathology"
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_source_and_import_say_the_same_of_our_names(entry: registry.Entry):
    read, thing = read_definition(entry.target), entry.load()
    assert read is not None
    assert read.doc == inspect.cleandoc(thing.__doc__ or "")
    assert read.card == getattr(thing, "card", None)
    told = [argument.lstrip("*").partition(":")[0].partition(" ")[0] for argument in read.arguments]
    assert told == list(inspect.signature(thing).parameters)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package whose parent must not be imported."""
    (tmp_path / "heavy_package").mkdir()
    (tmp_path / "heavy_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(code: str, name: str = "part") -> str:
        (tmp_path / "heavy_package" / f"{name}.py").write_text(code)
        return f"heavy_package.{name}"

    return write


def test_no_parent_is_imported(module):
    name = module("class A:\n    'An A.'\n    def __init__(self, x: int, *rest, y=2, **more): ...\n")
    found = read_definition(f"{name}:A")
    assert found is not None
    assert (found.doc, found.arguments) == ("An A.", ("x: int", "*rest", "y = 2", "**more"))
    assert "heavy_package" not in sys.modules


def test_names_are_followed_through_imports_and_bases(module):
    one = module(
        "SIZE = 3\nclass Base:\n    card = (SIZE, tuple(x for x in 'ab'))\n    def __init__(self, a): ...", "one"
    )
    two = module(f"from {one} import Base as B\nclass A(B):\n    'An A.'\n", "two")
    three = module(f"from {two} import A as C", "three")
    found = read_definition(f"{three}:C")
    assert found is not None
    assert (found.doc, found.arguments, found.card) == ("An A.", ("a",), (3, ("a", "b")))


@pytest.mark.parametrize(
    "code", ["A = make()", "def B(): ...", "class A(:", "class A:\n    card = nothing_of_this_name"]
)
def test_what_the_source_does_not_tell_is_none(code: str, module):
    name = module(code, f"case{len(code)}")
    assert read_definition(f"{name}:A") is None


def test_a_module_that_is_missing_has_no_place():
    assert find_spec("eva_core.nowhere.at_all") is None
    assert find_spec("nowhere_to_be_found") is None
    assert read_definition("nowhere_to_be_found:A") is None
