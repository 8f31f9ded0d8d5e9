"""The examples in docstrings run, and give what they show."""

import doctest
import importlib
import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"


def modules_with_examples() -> list[str]:
    """Dotted names of the modules below `src` that show a `>>>`."""
    paths = [path for path in sorted(SRC.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
    return [path.relative_to(SRC).with_suffix("").as_posix().replace("/", ".") for path in paths]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    report = io.StringIO()
    with redirect_stdout(report):
        results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0, f"no example of {name} is in a docstring"
    assert results.failed == 0, report.getvalue()
    assert list(tmp_path.iterdir()) == [], "an example leaves files"
