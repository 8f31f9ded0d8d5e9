"""The page of a run is made from its files, stays small, and costs the run nothing."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_core.errors import EvaError
from eva_core.files.checked_lines import checked_line
from eva_pretrain.monitor import watch
from eva_pretrain.monitor.lines import LOG, MEASURES, append_line, drop_lines
from eva_pretrain.monitor.watch import Numbers, WatchPage


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("name: <mine>\nmethod: {class_path: a.DinoV2}\nrecipe: {steps: 40}\n")
    for step in range(10, 31, 10):
        fields = {"loss": 9.5 - step, "loss/dino": 1.0, "loss/ibot": 2.0, "schedule/lr": 1e-4, "seconds": step / 2}
        append_line(tmp_path / LOG, {"step": step, **fields, "patches_per_s": 7.0, "waiting": 0.25, "skipped": 0})
        append_line(tmp_path / MEASURES, {"step": step, "monitor/rankme": step, "monitor/knn": 0.5})
        Image.fromarray(np.full((64, 96, 3), step, np.uint8)).save(tmp_path / f"pca-{step}.png")
    Image.fromarray(np.zeros((50, 90, 3), np.uint8)).save(tmp_path / "crops.png")
    return tmp_path


def test_the_page_shows_what_the_files_hold(run: Path):
    text = WatchPage(run).write("training").read_text()
    assert "&lt;mine&gt;" in text
    assert "<mine>" not in text
    assert "Training: step 30 of 40, about 5 s left." in text
    assert '<meta http-equiv="refresh" content="10">' in text
    for words in ("Losses", "ibot 2", "Nearest neighbours <b>0.5</b>", "RankMe <b>30</b>", "25 %", "What it sees"):
        assert words in text
    assert re.findall(r"<div>(step \d+)<img", text) == ["step 10", "step 20", "step 30"]
    assert "http://" not in text.replace("http://www.w3.org", "")
    stopped = WatchPage(run).write("stopped", "A disk is full.").read_text()
    assert "Stopped at step 30 of 40 after 15 s of training. A disk is full. The same command goes on" in stopped
    assert 'http-equiv="refresh"' not in stopped


def test_a_run_without_a_line_has_a_page(tmp_path: Path):
    assert "Training: step 0" in WatchPage(tmp_path).write("training").read_text()


def test_what_has_been_added_is_read_and_no_line_that_is_cut(tmp_path: Path):
    file = tmp_path / LOG
    numbers = Numbers(file)
    numbers.read_on()
    append_line(file, {"step": 1, "loss": 3.0})
    numbers.read_on()
    line = checked_line({"step": 2, "loss": 2.0})[0]
    with file.open("ab") as handle:
        handle.write(line[:10])
    numbers.read_on()
    assert numbers.curves["loss"].values.tolist() == [3.0]
    with file.open("ab") as handle:
        handle.write(line[10:] + b"no line\n")
    numbers.read_on()
    assert numbers.curves["loss"].steps.tolist() == [1, 2]
    assert numbers.curves["loss"].values.tolist() == [3.0, 2.0]


def test_the_page_of_a_long_run_is_small_and_soon_made(tmp_path: Path):
    names = [f"loss/{n}" for n in range(4)]
    lines = [checked_line({"step": n, "loss": 1.0 + n % 7, **dict.fromkeys(names, 0.5)})[0] for n in range(6_000)]
    (tmp_path / LOG).write_bytes(b"".join(lines))
    page = WatchPage(tmp_path)
    page.write("training")
    began = time.process_time()
    assert page.write("training").stat().st_size < 150_000
    assert time.process_time() - began < 0.25


def test_a_page_is_made_at_most_so_often_that_it_takes_a_hundredth_of_the_time(run: Path, monkeypatch):
    page, now, made = WatchPage(run), [100.0], []

    def slow(state: str, reason: str = "") -> None:
        made.append(now[0])
        now[0] += 0.2

    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(page, "write", slow)
    for _ in range(100):
        page.progress()
        now[0] += 1
    assert len(made) == 5


def test_an_error_in_the_page_is_said_once_and_the_run_goes_on(run: Path, monkeypatch, capsys):
    page = WatchPage(run)
    monkeypatch.setattr(watch, "_SHARE", 1e9)
    monkeypatch.setattr(watch, "write_text", lambda *_: 1 / 0)
    with page.of_a_run():
        page.progress()
        page.progress()
    err = capsys.readouterr().err
    assert err.count("could not be made (ZeroDivisionError: division by zero). Training goes on") == 1
    assert f"eva pretrain --watch {run}" in err


@pytest.mark.parametrize(("error", "words"), [(EvaError("The disk is full."), "The disk is full."), (KeyError(1), "")])
def test_the_end_of_a_run_is_on_its_page(run: Path, error: Exception, words: str):
    page = WatchPage(run)
    with pytest.raises(type(error)), page.of_a_run():
        raise error
    assert "Stopped at step 30" in page.path.read_text()
    assert words in page.path.read_text()
    with page.of_a_run():
        pass
    assert "Finished: step 30 of 40" in page.path.read_text()


def test_lines_that_are_written_anew_stand_once_and_in_order(tmp_path: Path):
    file, numbers = tmp_path / MEASURES, Numbers(tmp_path / MEASURES)
    for step in (2, 8, 4):  # the best of an earlier attempt stands before what comes after the checkpoint
        append_line(file, {"step": step, "monitor/knn": step / 10})
    numbers.read_on()
    assert numbers.curves["monitor/knn"].values.tolist() == [0.2, 0.4, 0.8]
    drop_lines(file, (8).__eq__)
    append_line(file, {"step": 8, "monitor/knn": 0.9})
    numbers.read_on()
    assert numbers.curves["monitor/knn"].steps.tolist() == [2, 4, 8]
    assert numbers.curves["monitor/knn"].values.tolist() == [0.2, 0.4, 0.9]


def test_damaged_pictures_are_left_out_and_a_name_like_a_mark_is_a_name(run: Path):
    (run / "config.yaml").write_text("name: __BODY__\n")
    whole = (run / "pca-20.png").read_bytes()
    (run / "pca-20.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (9, 1)).save(run / "pca-30.png")
    (run / "crops.png").write_bytes(b"")
    text = WatchPage(run).write("stopped").read_text()
    assert "<h1>__BODY__</h1>" in text
    assert re.findall(r"<div>([\w ]+)<img", text) == ["patches", "step 10"]
    assert "What it sees" not in text
