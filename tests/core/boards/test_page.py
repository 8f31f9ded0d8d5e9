"""The page in a real browser, and what it must hold without one."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva_core.boards.page import write_page
from eva_core.boards.standings import Cell, Row, Standings, Task

MODELS, TASKS = 30, 15


def big_board() -> Standings:
    """Thirty made-up models on fifteen made-up tasks under two heads; model_00 is worst, the last one gated."""
    rng = np.random.default_rng(0)
    tasks = [Task(f"task_{t:02d}", "balanced_accuracy", "test", synthetic=True, counted=t > 0) for t in range(TASKS)]
    rows = []
    for m in range(MODELS):
        for head in ("linear", "knn"):
            cells = {}
            for task in tasks:
                value = 0.5 + m / 100 + (head == "linear") / 1000 + rng.random() / 1e4
                cells[task.name] = Cell(
                    value=value,
                    std=0.01,
                    ci95=[value - 0.03, value + 0.03],
                    split="test",
                    n=1000,
                    n_groups=40,
                    interval="group",
                    selection="val",
                    protocol="eva-0.4",
                    published=0.5,
                    published_protocol="eva-0.4" if m % 2 else "midnight-2025",
                    delta=value - 0.5 if m % 2 else None,
                    contamination={"kind": "declared" if m % 3 == 0 else "unknown"},
                    mpp=0.5,
                    cost={"embed_s": 100.0, "images_per_s": 10.0, "fit_s": 3.0},
                    tied=m > 27,
                )
            values = [c.value for name, c in cells.items() if name != "task_00"]
            card = {
                "licence": "unknown",
                "gated": m == MODELS - 1,
                "trained_on": "TCGA <!-- <script> </script><b>not markup",
            }
            place = float(MODELS - m)
            average = float(np.mean(values))
            rows.append(Row(f"model_{m:02d}", head, cells, card, average, (place, place - 1, place + 1), 0.1, 1500.0))
    rows[0].cells["task_03"] = Cell(reason="paige-ai/Virchow is gated: ask for access at its page, then set HF_TOKEN.")
    return Standings("big", "SYNTHETIC board", "eva-0.4", tasks, rows, 0, True)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(big_board(), tmp_path_factory.mktemp("page") / "leaderboard.html")


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Any]:
    """Headless Chromium with the page open; skips where it is missing, unless EVA_REQUIRE_BROWSER=1."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        if os.environ.get("EVA_REQUIRE_BROWSER") == "1":
            pytest.fail("EVA_REQUIRE_BROWSER=1, but chromium or chromedriver is missing")
        pytest.skip("no chromium with chromedriver: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
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
    window.get(page.as_uri())
    yield window
    window.quit()


def column(browser: Any, name: str) -> list[str]:
    """The first line of every cell of a column."""
    script = """
      const at = [...document.querySelectorAll('th button')].findIndex(b => b.textContent === arguments[0]);
      return [...document.querySelectorAll('tbody tr')].map(r => r.cells[at].firstChild.textContent);"""
    return browser.execute_script(script, name)


def choose(browser: Any, element: str, value: str) -> None:
    script = """
      const found = document.getElementById(arguments[0]);
      found.value = arguments[1]; found.dispatchEvent(new Event('input', {bubbles: true}));"""
    browser.execute_script(script, element, value)


def press(browser: Any, name: str) -> None:
    browser.find_element("xpath", f"//th/button[text()='{name}']").click()


@pytest.fixture
def fresh(browser: Any, page: Path) -> Any:
    browser.get(page.as_uri())
    return browser


def test_it_is_one_small_file_that_fetches_nothing(page: Path):
    text = page.read_text()
    assert len(text) < 1_000_000
    assert "src=" not in text
    assert "@import" not in text
    assert "fetch(" not in text
    data = text.split('<script id="data" type="application/json">')[1].split("</script>")[0]
    assert len(json.loads(data)["rows"]) == 2 * MODELS


def test_it_opens_with_the_best_first_and_without_errors(fresh: Any):
    assert fresh.title == "SYNTHETIC board"
    assert len(column(fresh, "model")) == 2 * MODELS
    assert column(fresh, "model")[0] == f"model_{MODELS - 1:02d}"
    assert "SYNTHETIC data" in fresh.find_element("id", "note").text
    assert [entry for entry in fresh.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def test_a_press_on_a_header_sorts_and_another_turns_round(fresh: Any):
    press(fresh, "task_05")
    down = column(fresh, "task_05")
    assert down == sorted(down, reverse=True)
    press(fresh, "task_05")
    assert column(fresh, "task_05") == down[::-1]
    press(fresh, "model")
    assert column(fresh, "model")[0] == "model_00"
    press(fresh, "rank")
    assert column(fresh, "model")[0] == f"model_{MODELS - 1:02d}"


def test_a_row_without_a_value_stays_below_and_says_why(fresh: Any):
    for _ in range(2):
        press(fresh, "task_03")
        assert column(fresh, "task_03")[-1] == "failed"
    listed = fresh.find_element("id", "failed").text
    assert "model_00 on task_03" in listed
    assert "gated: ask for access" in listed


def test_filters(fresh: Any):
    choose(fresh, "filter", "model_07")
    assert column(fresh, "model") == ["model_07", "model_07"]
    choose(fresh, "head", "knn")
    assert column(fresh, "head") == ["knn"]
    assert fresh.execute_script("return document.querySelectorAll('.plots svg circle').length") == TASKS
    choose(fresh, "filter", "nothing")
    assert column(fresh, "model") == []


def test_a_difference_stands_only_beside_the_same_protocol(fresh: Any):
    choose(fresh, "show", "published")
    choose(fresh, "filter", "model_02")
    assert "protocol differs: midnight-2025" in fresh.find_element("tag name", "tbody").text
    choose(fresh, "filter", "model_03")
    text = fresh.find_element("tag name", "tbody").text
    assert "protocol differs" not in text
    assert "+0.03" in text


def test_what_cards_say_is_text_and_never_markup(fresh: Any):
    choose(fresh, "show", "trust")
    assert "TCGA <!-- <script> </script><b>not markup" in column(fresh, "trained on")
    assert fresh.execute_script("return document.querySelectorAll('tbody b').length") == 0


def test_it_fits_a_phone(fresh: Any):
    fresh.set_window_size(500, 800)
    assert fresh.execute_script("return document.documentElement.scrollWidth <= window.innerWidth + 1")
    fresh.set_window_size(1300, 900)


def test_dark_and_light(fresh: Any):
    script = "return getComputedStyle(document.body).backgroundColor"
    before = fresh.execute_script(script)
    fresh.find_element("id", "theme").click()
    assert fresh.execute_script(script) != before
