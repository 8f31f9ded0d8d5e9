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
from tests.conftest import write_tree


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


@pytest.fixture(scope="session")
def board_that_ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models and a broken one, on one tree, under two heads; quick. What was made once is there for each test."""
    root = tmp_path_factory.mktemp("board")
    here = root / "here"
    task = {"name": "tree", "config": "folder", "init_args": {"root": str(write_tree(here / "tree"))}}
    (here / "quick.yaml").write_text("name: quick\nsteps: 20\nruns: 2\nlr: [0.05]\n")
    content = {"name": "tiny", "models": ["colour_stats", VIT, BROKEN], "tasks": [task]}
    heads = ["linear", {"class_path": "simpleshot", "init_args": {"shots": 2, "draws": 3}}]
    spec = here / "board.yaml"
    spec.write_text(yaml.safe_dump({**content, "heads": heads, "protocol": str(here / "quick.yaml")}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVA_CACHE", str(root / "cache"))
        board = ["--config", str(spec), "--output", str(here / "out"), "--device", "cpu", "--workers", "0"]
        assert main(["leaderboard", *board]) == 0
    (here / "out").rename(root / "out")
    here.rename(root / "kept")
    return root


@pytest.fixture
def spec(board_that_ran: Path) -> Path:
    """The file of that board, before it ran."""
    here = board_that_ran / "here"  # always the same place, which results name
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(board_that_ran / "kept", here)
    return here / "board.yaml"


@pytest.fixture
def finished(board_that_ran: Path, spec: Path, cache: Path) -> Path:
    """The folder of that board, after it ran."""
    shutil.copytree(board_that_ran / "cache", cache, dirs_exist_ok=True)
    return shutil.copytree(board_that_ran / "out", spec.parent / "out")


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
