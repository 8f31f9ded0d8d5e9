"""Packages that a test pretends to install, a browser, and a small board that was run."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from eva_core import registry
from eva_core.cli import main


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


VIT = {"name": "tiny_vit", "class_path": "timm_model", "init_args": {"arch": "test_vit"}}


VIT32 = {"name": "tiny_vit", "class_path": "timm_model", "init_args": {"arch": "test_vit", "size": 32}}


BROKEN = {"name": "broken", "class_path": "timm_model", "init_args": {"arch": "test_vit", "checkpoint": "gone.pth"}}


@pytest.fixture
def spec(tree: Path, tmp_path: Path) -> Path:
    """Two models and a broken one, on one tree, under two heads; quick."""
    protocol = tmp_path / "quick.yaml"
    protocol.write_text("name: quick\nsteps: 20\nruns: 2\nlr: [0.05]\n")
    path = tmp_path / "board.yaml"
    task = {"name": "tree", "config": "folder", "init_args": {"root": str(tree)}}
    content = {"name": "tiny", "models": ["colour_stats", VIT, BROKEN], "tasks": [task]}
    heads = ["linear", {"class_path": "simpleshot", "init_args": {"shots": 2, "draws": 3}}]
    path.write_text(yaml.safe_dump({**content, "heads": heads, "protocol": str(protocol)}))
    return path


@pytest.fixture
def finished(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> Path:
    out = tmp_path / "out"
    assert main(["leaderboard", "--config", str(spec), "--output", str(out), "--device", "cpu", "--workers", "0"]) == 0
    assert "gone.pth does not exist" in capsys.readouterr().err
    return out


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Headless Chromium; skips where it is missing, unless EVA_REQUIRE_BROWSER=1."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        if os.environ.get("EVA_REQUIRE_BROWSER") == "1":
            pytest.fail("EVA_REQUIRE_BROWSER=1, but chromium or chromedriver is missing")
        pytest.skip("no chromium with chromedriver: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1300,900",
        "--disable-dev-shm-usage",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield window
    window.quit()
