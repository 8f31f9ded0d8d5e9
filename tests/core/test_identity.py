"""Identity: the same key wherever code lives and whatever fields came since; another key for another setting."""

import subprocess
import sys
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from eva_core import registry
from eva_core.api import fit
from eva_core.cli import main
from eva_core.errors import UsageError
from eva_core.identity import changed_fields, digest, qualified_name, settings_of, version_of
from eva_core.results.record import read_results
from eva_vision.heads.logreg import LogReg
from eva_vision.models.colour_stats import ColourStats


def moved(monkeypatch: pytest.MonkeyPatch, cls: type, to: str) -> type:
    """A class as it would be in another module of its package."""
    module = ModuleType(to)
    copy = type(cls.__name__, cls.__bases__, {**vars(cls), "__module__": to})
    copy.__qualname__ = cls.__qualname__
    setattr(module, cls.__name__, copy)
    monkeypatch.setitem(sys.modules, to, module)
    return copy


def test_a_class_that_moves_keeps_its_name(monkeypatch: pytest.MonkeyPatch):
    for cls in (LogReg, ColourStats):
        assert qualified_name(moved(monkeypatch, cls, "eva_vision.elsewhere.deep")) == qualified_name(cls)
    assert qualified_name(LogReg) == qualified_name(LogReg()) == "eva-pathology:LogReg"
    assert qualified_name(LogReg) != qualified_name(ColourStats)


def test_what_no_package_brings_is_known_by_its_module():
    class Mine: ...

    assert qualified_name(Mine).endswith(f":{Mine.__qualname__}")
    assert qualified_name(np.median) == "numpy:median"


def test_a_version_is_what_a_class_states():
    class Second:
        version = 2

    class Text:
        version = "1.0"

    assert [version_of(code) for code in (LogReg, Second, Second(), Text)] == [1, 2, 2, 1]


@dataclass(frozen=True)
class Inner:
    overlap: int = 32


@dataclass(frozen=True)
class Outer:
    name: str
    lr: tuple[float, ...] = (0.1,)
    inner: Inner = field(default_factory=Inner)


def test_fields_count_where_they_differ_from_their_defaults():
    assert changed_fields(Outer("a")) == {"name": "a"}
    assert changed_fields(Outer("a", (0.2,), Inner(8))) == {"name": "a", "lr": (0.2,), "inner": {"overlap": 8}}


def test_a_new_field_with_a_default_changes_no_key():
    newer = make_dataclass("Newer", [("more", int, 3)], bases=(Outer,), frozen=True)
    assert digest(changed_fields(newer("a"))) == digest(changed_fields(Outer("a")))
    assert digest(changed_fields(newer("a", more=4))) != digest(changed_fields(Outer("a")))


def test_arguments_of_an_object_are_those_that_differ():
    class Head:
        def __init__(self, k: int = 5, lost: int = 1) -> None:
            self.k = k

    with pytest.raises(UsageError, match=r"keep its argument lost as an attribute.*Add self.lost = lost"):
        settings_of(Head())
    assert settings_of(LogReg()) == {}
    assert settings_of(registry.heads.build("knn", k=[3])) == {"k": (3,)}
    assert settings_of(registry.heads.build("knn", k=[1, 3, 5, 10, 20, 50, 100])) == {}


def test_a_digest_is_of_what_json_can_hold():
    assert digest({"a": Path("x"), "b": np.int64(3)}) == digest({"b": 3, "a": "x"})
    with pytest.raises(UsageError, match="arguments that JSON can hold"):
        digest({"a": object()})


def test_keys_are_the_same_in_another_process():
    code = "from eva_core.identity import *; from eva_vision.heads.logreg import LogReg; print(qualified_name(LogReg))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == qualified_name(LogReg)


def test_an_alias_is_reported_under_its_own_name(tree: Path, monkeypatch: pytest.MonkeyPatch):
    entries = [*registry._entry_points()]
    for group, kind in (("eva.heads", "nearest:eva_vision.heads.neighbours:Knn"), ("eva.models", COLOUR)):
        name, _, target = kind.partition(":")
        entries.append((group, registry.Entry(name, target, "theirs", "1.0", "")))
    monkeypatch.setattr(registry, "_entry_points", lambda: tuple(entries))
    names = ["--dataset", "folder", f"--dataset.root={tree}", "--protocol", "strict", "--output", "typed"]
    assert main(["fit", *names, "--model", "six_colours", "--head", "nearest"]) == 0
    dataset = registry.datasets.build("folder", root=str(tree))
    fit(registry.build_model("six_colours"), dataset, registry.heads.build("nearest"), "strict", "objects")
    fit("six_colours", dataset, "nearest", "strict", "names")
    for output in ("typed", "objects", "names"):
        identity = read_results(Path(output))["identity"]
        assert (identity["model"], identity["head"]) == ("six_colours", "nearest")
    assert len({read_results(Path(output))["key"] for output in ("typed", "objects", "names")}) == 1
    again = ["--config", "typed/config.yaml", "--output", "typed"]
    assert main(["fit", *again]) == 0  # already done: the configuration has the names


COLOUR = "six_colours:eva_vision.models.baselines:colour_stats"
