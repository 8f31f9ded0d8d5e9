"""Time to show a finished board; size of the page of a large board, and its first paint in Chromium."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EVA = Path(sys.executable).with_name("eva")
sys.path.insert(0, str(Path(__file__).parents[1]))


def show(config: str, output: str) -> float:
    """Time `eva leaderboard` on a finished board: median seconds of the whole process."""
    argv = [EVA, "leaderboard", "--config", config, "--output", output]
    subprocess.run(argv, check=True, capture_output=True)  # runs what is missing, so that the next finds it finished
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(argv, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return round(statistics.median(times), 2)


def page() -> dict[str, object]:
    """Time the page of a made-up board of 30 models, 15 tasks and two heads."""
    from selenium import webdriver

    from eva_core.boards.page import write_page
    from tests.core.boards.test_page import big_board

    path = write_page(big_board(), Path(tempfile.mkdtemp()) / "leaderboard.html")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    paints = []
    for _ in range(5):
        browser.get(path.as_uri())
        time.sleep(1.5)
        script = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
        paints.append(browser.execute_script(script))
    browser.quit()
    return {"rows": 60, "tasks": 15, "bytes": path.stat().st_size, "first_paint_ms": round(statistics.median(paints))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", help="board to show")
    parser.add_argument("--output", help="folder of the board")
    given = parser.parse_args()
    result: dict[str, object] = {}
    if given.config:
        result["finished_board_s"] = show(given.config, given.output)
    if shutil.which("chromedriver"):
        result["page"] = page()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
