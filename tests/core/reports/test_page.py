"""The page of a result: small, soon made, safe whatever names are in it, and no reason to lose a score."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from eva_core.api import fit
from eva_core.extraction.settings import Extraction
from eva_core.reports import embedding_map, page
from eva_core.reports.page import try_report, write_report
from eva_core.results.record import REPORT, is_whole, read_results
from tests.core.reports.conftest import fitted, made_up_result

HOSTILE = ("<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "\x1b[31m\u202ered", "${a}__DATA__")


def shown(path: Path) -> dict[str, Any]:
    """What the page holds as data."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def part(data: dict[str, Any], title: str) -> dict[str, Any]:
    (found,) = [one for one in data["sections"] if one["title"] == title]
    return dict(found)


def test_a_fit_leaves_a_report_that_results_do_not_vouch_for(tree: Path, tmp_path: Path):
    folder = fitted(tree, tmp_path / "out")
    assert REPORT not in read_results(folder)["files"]
    data = shown(folder / REPORT)
    titles = [one["title"] for one in data["sections"]]
    assert {"Classes", "Confusions", "Reliability", "ROC", "Embeddings", "Least sure", "Repeat it"} <= set(titles)
    assert part(data, "Embeddings")["tiles"]["image"].startswith("data:image/jpeg")
    assert len(part(data, "Embeddings")["ids"]) == 16
    assert data["missing"] == []
    (folder / REPORT).unlink()
    assert is_whole(folder)
    fitted(tree, folder)  # a result without one gets it again
    assert (folder / REPORT).exists()


def test_a_report_of_many_images_is_small_and_soon_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedding_map, "installed", lambda: False)  # numba takes its own time: test_umap_layout
    folder = made_up_result(tmp_path / "out", 100_000, tuple(f"class {n}" for n in range(9)), dim=768)
    results = read_results(folder)
    started = time.process_time()
    path = write_report(folder, results)
    spent = time.process_time() - started
    assert path.stat().st_size < 3e6
    assert spent < 5
    data = shown(path)
    assert part(data, "Embeddings")["tiles"] is not None
    assert len(part(data, "Wrong, and sure of it")["items"][0]["beside"]) == 3


def test_names_of_others_are_text(tmp_path: Path):
    folder = made_up_result(tmp_path / "out", 60, HOSTILE, ids=HOSTILE[1] + "{}", selection=HOSTILE[0])
    path = write_report(folder, read_results(folder))
    text = path.read_text(encoding="utf-8")
    assert text.count("<script") == 2
    assert "<img" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert [row[0] for row in part(shown(path), "Classes")["rows"]][:2] == list(HOSTILE[:2])


def test_a_page_asks_nobody(tmp_path: Path):
    folder = made_up_result(tmp_path / "out", 60)
    text = write_report(folder, read_results(folder)).read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert re.findall(r"https?://[^\"' ]*", text) == ["http://www.w3.org/2000/svg"]


def test_without_embeddings_the_page_says_so(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = fitted(tree, tmp_path / "out")
    monkeypatch.setenv("EVA_CACHE", str(tmp_path / "empty"))
    data = shown(write_report(folder, read_results(folder)))
    assert part(data, "Embeddings")["kind"] == "note"
    assert part(data, "Least sure")["items"][0]["image"]  # the images are here


def test_a_report_that_fails_costs_no_result(pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(sources: object) -> None:
        raise RuntimeError("no\nsections")

    monkeypatch.setattr(page, "page_data", broken)
    told: list[str] = []
    quick = fit(
        "colour_stats", pictures, "knn", "strict", tmp_path / "out", Extraction(device="cpu", workers=0), told.append
    )
    assert quick["main"]["mean"] is not None
    assert is_whole(tmp_path / "out")
    assert [line for line in told if "report" in line] == [
        f"The report of {tmp_path / 'out'} could not be made (RuntimeError: no sections). The result is whole; "
        f"`eva report {tmp_path / 'out'}` tries again."
    ]
    try_report(tmp_path / "out", quick, tell=told.append)
    assert len([line for line in told if "report" in line]) == 2


def test_a_link_in_its_place_is_replaced_and_not_followed(tmp_path: Path):
    folder = made_up_result(tmp_path / "out", 60)
    (tmp_path / "private").write_text("private")
    (folder / REPORT).symlink_to(tmp_path / "private")
    assert not write_report(folder, read_results(folder)).is_symlink()
    assert (tmp_path / "private").read_text() == "private"


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Any:
    """A page full of names that a browser would follow, in a browser."""
    folder = made_up_result(tmp_path / "out", 90, HOSTILE, ids=HOSTILE[1] + "{}")
    chromium.get(write_report(folder, read_results(folder)).as_uri())
    return chromium


def test_it_opens_without_errors_and_shows_names_as_text(opened: Any):
    assert [entry for entry in opened.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    headings = opened.execute_script("return [...document.querySelectorAll('h2')].map(h => h.textContent)")
    assert headings[0] == "Score"
    assert headings[-1] == "Repeat it"
    cells = opened.execute_script("return [...document.querySelectorAll('td')].map(h => h.textContent)")
    assert HOSTILE[0] in cells
    assert opened.execute_script("return document.querySelectorAll('script').length") == 2
    drawn = opened.execute_script("return [...document.querySelectorAll('svg')].map(one => one.outerHTML).join()")
    assert ">0.2<" in drawn
    assert "NaN" not in drawn
    sources = opened.execute_script("return [...document.querySelectorAll('img')].map(i => i.src)")
    assert sources
    assert all(source.startswith("data:image/jpeg") for source in sources)


def test_a_picture_stands_under_the_pointer(opened: Any):
    script = """
      const [canvas, tip] = ['canvas', '.tip'].map(one => document.querySelector(one));
      const box = canvas.getBoundingClientRect();
      for (let y = 0; y < box.height; y += 4) for (let x = 0; x < box.width; x += 4) {
        canvas.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + x, clientY: box.top + y}));
        const picture = getComputedStyle(tip.querySelector('i')).backgroundImage;
        if (!tip.hidden) return [tip.textContent, picture.slice(0, 20)];
      }"""
    text, picture = opened.execute_script(script)
    assert "right or wrong" in text
    assert picture == 'url("data:image/jpeg'


def test_dark_light_and_a_phone(opened: Any):
    script = "return getComputedStyle(document.body).backgroundColor"
    before = opened.execute_script(script)
    opened.find_element("id", "theme").click()
    assert opened.execute_script(script) != before
    opened.set_window_size(500, 800)
    assert opened.execute_script("return document.documentElement.scrollWidth <= window.innerWidth + 1")
    opened.set_window_size(1300, 900)
