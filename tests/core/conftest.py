"""Packages that a test pretends to install."""

from pathlib import Path

import pytest

from eva_core import registry


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pretend to install packages: a dist-info folder with entry points is all that the registry reads."""
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._entry_points.cache_clear()

    def install(package: str, entries: str, code: str = "", version: str = "1.2.3") -> None:
        info = tmp_path / f"{package}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\nSummary: A plugin\n"
        )
        (info / "entry_points.txt").write_text(entries)
        (tmp_path / f"{package}.py").write_text(code)

    yield install
    registry._entry_points.cache_clear()
