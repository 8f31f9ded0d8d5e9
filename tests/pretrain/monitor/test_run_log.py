"""Each step is logged once, with all its numbers; a logger that fails costs no run."""

import errno
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.loggers.logger import DummyLogger
from PIL import Image

from eva_pretrain.monitor.lines import LOG, PICTURE, read_lines
from eva_pretrain.monitor.run_log import LogCallback


class Recorded(DummyLogger):
    def __init__(self, error: Exception | None = None, seconds: float = 0.0) -> None:
        super().__init__()
        self.calls, self.seconds = 0, seconds
        self.error, self.got, self.images = error, list[tuple[int, dict[str, float]]](), list[str]()

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.calls += 1
        if self.error is not None:
            time.sleep(self.seconds)
            raise self.error
        self.got.append((step, metrics))

    def log_image(self, key: str, images: list[str], step: int) -> None:
        self.images += images


def run(output: Path, steps: range, loggers: list[Any], already: int = -1) -> list[int]:
    training, monitor = (SimpleNamespace(numbers=(-1, {})) for _ in range(2))
    pages: list[int] = []
    callback = LogCallback(output, training, monitor, lambda: pages.append(1), already)
    trainer = SimpleNamespace(global_step=steps.start, is_global_zero=True, loggers=loggers)
    for step in steps:
        trainer.global_step = step
        if step % 2 == 0:
            Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(output / PICTURE.format(step))
            monitor.numbers = (step, {"monitor/rankme": 2.0 * step})
        if step:
            training.numbers = (step, {"loss": 1.0 / step})
        begin = callback.on_train_start if step == steps.start else callback.on_train_batch_end
        begin(trainer, None)  # type: ignore[arg-type]
        callback.on_train_batch_end(trainer, None)  # type: ignore[arg-type]  # another batch of the same step
    return pages


def test_a_step_is_one_line_of_all_its_numbers(tmp_path: Path):
    logger = Recorded()
    pages = run(tmp_path, range(4), [logger])
    assert logger.got == [
        (0, {"monitor/rankme": 0.0}),
        (1, {"loss": 1.0}),
        (2, {"loss": 0.5, "monitor/rankme": 4.0}),
        (3, {"loss": 1 / 3}),
    ]
    assert read_lines(tmp_path / LOG) == [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    assert logger.images == [str(tmp_path / "pca-0.png"), str(tmp_path / "pca-2.png")]
    assert len(pages) == 4


def test_a_server_that_has_steps_already_gets_the_others(tmp_path: Path):
    logger = Recorded()
    run(tmp_path, range(2, 6), [logger], already=4)
    assert [step for step, _ in logger.got] == [5]
    assert [line["step"] for line in read_lines(tmp_path / LOG)] == [3, 4, 5]  # step 2 is of before the checkpoint


def test_a_logger_that_fails_is_named_once_and_a_full_disk_is_not_hidden(tmp_path: Path, capsys):
    other = Recorded()
    run(tmp_path, range(4), [Recorded(RuntimeError("no\nroute")), other])
    err = capsys.readouterr().err
    assert err.count("Recorded failed at step 0 (RuntimeError: no route). Training goes on") == 1
    assert len(other.got) == 4
    with pytest.raises(OSError, match="full"):
        run(tmp_path, range(1), [Recorded(OSError(errno.ENOSPC, "full"))])


def test_a_server_that_is_away_does_not_hold_up_each_step(tmp_path: Path):
    away = Recorded(ConnectionError("nobody answers"), seconds=0.1)
    run(tmp_path, range(1, 40), [away])
    assert away.calls == 1  # the next attempt comes a hundred times as long after it
