"""The page in a real browser, and what it must hold without one."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from PIL import Image

from eva_core.boards.page import write_page
from eva_core.boards.rows import Cell, Column, Row, Standings

MODELS, TASKS = 30, 15


def big_board() -> Standings:
    """Thirty made-up models on fifteen made-up tasks under two heads; model_00 is worst, the last one gated."""
    rng = np.random.default_rng(0)
    tasks = [
        Column(f"task_{t:02d}", "classification", "balanced_accuracy", split="test", synthetic=True, counted=t > 0)
        for t in range(TASKS)
    ]
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
    rows[-2].cells["task_05"].report = "task_05/model #1 (50 %)/report.html"
    rows[0].cells["task_03"] = Cell(reason="paige-ai/Virchow is gated: ask for access at its page, then set HF_TOKEN.")
    return Standings("big", "SYNTHETIC board", "eva-0.4", tasks, rows, 0, True)


def board_with_pictures(folder: Path) -> Standings:
    """Two models on nuclei, regions and patches; pictures lie in `folder`, whose names need care in a link."""
    tasks = [
        Column("nuclei", "segmentation", "dice", split="val"),
        Column("regions", "segmentation", "dice", split="val"),
        Column("patches", "classification", "auroc", split="val"),
    ]
    rows = []
    for model, value in (("vit #1 (50 %)", 0.6), ("cnn", 0.4)):
        cells = {"patches": Cell(head="linear", value=value, cost={"embed_s": 1.0}, contamination={"kind": "unknown"})}
        for name in ("nuclei", "regions"):
            below = folder / name / model / "default"
            below.mkdir(parents=True)
            pictures = []
            for which, score in (("best", value + 0.1), ("median", value), ("worst", value - 0.1)):
                Image.new("RGB", (844, 258), (200, 120, 180)).save(below / f"{which}.png")
                file = (below / f"{which}.png").relative_to(folder).as_posix()
                pictures.append({"which": which, "id": f"{which} <b>{name}</b>.png", "score": score, "file": file})
            cells[name] = Cell(
                head="conv_seg",
                value=value,
                ci95=[value - 0.1, value + 0.1],
                cost={"embed_s": 1.0},
                contamination={"kind": "unknown"},
                remark="Chosen by the prediction" if name == "nuclei" else "",
                extras={"iou": value / 2, "aji": value / 3} if name == "nuclei" else {},
                holds={"focus <b>": "1, drops at 2"} if name == "regions" else {},
                pictures=pictures,
            )
        rows.append(Row(model, "default", cells, average=value))
    return Standings("masks", "Masks", "eva-0.4", tasks, rows, 0, False)


@pytest.fixture(scope="module")
def page_with_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    return write_page(board_with_pictures(folder), folder / "leaderboard.html")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(big_board(), tmp_path_factory.mktemp("page") / "leaderboard.html")


@pytest.fixture(scope="module")
def browser(page: Path, chromium: Any) -> Any:
    """Headless Chromium with the page open."""
    chromium.get(page.as_uri())
    return chromium


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


def test_a_score_leads_to_its_report(fresh: Any, page: Path):
    press(fresh, "task_05")
    script = "return [...document.querySelectorAll('tbody a')].map(a => [a.textContent, a.href])"
    ((text, address),) = fresh.execute_script(script)
    assert text == column(fresh, "task_05")[0]
    assert Path(unquote(urlparse(address).path)) == page.parent / "task_05" / "model #1 (50 %)" / "report.html"
    assert "Each score leads to its report" in fresh.find_element("id", "legend").text


def test_filters(fresh: Any):
    choose(fresh, "filter", "model_07")
    assert column(fresh, "model") == ["model_07", "model_07"]
    choose(fresh, "head", "knn")
    assert column(fresh, "head") == ["knn"]
    assert "NaN" not in fresh.execute_script("return document.querySelector('.plots').innerHTML")
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


@pytest.fixture
def pictured(browser: Any, page_with_pictures: Path) -> Any:
    browser.get(page_with_pictures.as_uri())
    return browser


def strips(browser: Any) -> list[str]:
    """The model of every strip."""
    return browser.execute_script("return [...document.querySelectorAll('summary span')].map(s => s.textContent)")


def loaded(browser: Any) -> list[str]:
    """Captions of the pictures that are there to see."""
    script = """
      const shown = [...document.querySelectorAll('details[open] img')];
      shown.forEach(i => i.loading = 'eager');
      const seen = () => shown.filter(i => i.naturalWidth === 844).map(i => i.alt);
      Promise.all(shown.map(i => i.decode())).then(() => arguments[0](seen()), e => arguments[0]([String(e)]));"""
    return browser.execute_async_script(script)


def test_a_page_without_pictures_has_no_section_for_them(fresh: Any):
    assert not fresh.find_element("id", "pictures").is_displayed()
    assert "masks" not in fresh.find_element("id", "show").get_attribute("innerHTML")


def test_the_first_row_shows_its_pictures_and_the_others_wait(pictured: Any):
    assert strips(pictured) == ["vit #1 (50 %)", "cnn"]
    assert loaded(pictured) == [
        "best 0.700 · best <b>nuclei</b>.png · vit #1 (50 %), conv_seg",
        "median 0.600 · median <b>nuclei</b>.png · vit #1 (50 %), conv_seg",
        "worst 0.500 · worst <b>nuclei</b>.png · vit #1 (50 %), conv_seg",
    ]
    images = pictured.find_elements("css selector", "details img")
    assert len(images) == 6
    assert {image.get_attribute("loading") for image in images[3:]} == {"lazy"}
    assert {image.get_property("complete") and image.get_property("naturalWidth") for image in images[3:]} == {False}
    assert [entry for entry in pictured.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def test_a_strip_opens_and_stays_open_whatever_is_sorted_or_filtered(pictured: Any):
    pictured.find_elements("tag name", "summary")[1].click()
    assert len(loaded(pictured)) == 6
    press(pictured, "nuclei")
    press(pictured, "nuclei")
    assert strips(pictured) == ["cnn", "vit #1 (50 %)"]
    assert len(loaded(pictured)) == 6
    choose(pictured, "filter", "cnn")
    assert strips(pictured) == ["cnn"]


def test_another_task_has_other_pictures(pictured: Any):
    options = "return [...document.getElementById('task').options].map(o => o.value)"
    assert pictured.execute_script(options) == ["nuclei", "regions"]
    choose(pictured, "task", "regions")
    assert [text.split(" · ")[1] for text in loaded(pictured)] == [
        f"{which} <b>regions</b>.png" for which in ("best", "median", "worst")
    ]
    assert pictured.execute_script("return document.querySelectorAll('#pictures b').length") == 0


def test_a_link_leads_to_the_picture(pictured: Any, page_with_pictures: Path):
    link = pictured.find_element("css selector", "details a").get_attribute("href")
    assert unquote(urlparse(link).path) == str(page_with_pictures.parent / "nuclei/vit #1 (50 %)/default/best.png")


def test_wrong_rules_carry_a_mark_and_a_reason(pictured: Any):
    row = pictured.find_element("css selector", "tbody tr").text
    assert row.count("‡") == 1
    assert "‡: Chosen by the prediction." in pictured.find_element("id", "legend").text
    choose(pictured, "show", "published")
    assert pictured.find_element("css selector", "tbody tr").text.count("‡") == 1


def test_until_where_scores_hold(pictured: Any):
    choose(pictured, "show", "holds")
    assert pictured.find_element("css selector", "tbody tr").text.count("focus <b>: 1, drops at 2") == 1


def test_scores_beside_the_main_one(pictured: Any):
    choose(pictured, "show", "beside")
    text = pictured.find_element("css selector", "tbody tr").text
    assert "iou 0.300" in text
    assert "aji 0.200" in text


def test_pictures_fit_a_phone(pictured: Any):
    pictured.set_window_size(500, 800)
    assert pictured.execute_script("return document.documentElement.scrollWidth <= window.innerWidth + 1")
    assert pictured.execute_script("return document.querySelector('details img').getBoundingClientRect().width >= 600")
    pictured.set_window_size(1300, 900)
