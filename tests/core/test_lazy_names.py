"""Names that are imported when they are first used."""

import subprocess
import sys
import types

import pytest

from eva_core.lazy_names import lazy_names


def test_a_name_is_imported_at_its_first_use_alone(monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType("a_face")
    module.__getattr__, module.__dir__ = lazy_names("a_face", {"Fraction": "fractions", "gone": "no_such_module"})
    monkeypatch.setitem(sys.modules, "a_face", module)
    assert module.Fraction(1, 2) == 0.5
    assert {"Fraction", "gone", "__name__"} <= set(dir(module))
    with pytest.raises(AttributeError, match="'a_face' has no attribute 'Fractoin'"):
        _ = module.Fractoin
    with pytest.raises(ModuleNotFoundError):
        _ = module.gone


def test_looking_at_a_face_imports_nothing_of_it():
    code = "import eva_core, sys; dir(eva_core); sys.exit('eva_core.api' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
