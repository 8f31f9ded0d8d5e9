"""Stops of a run: by a signal or a time limit, and of two ranks after the same step."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing as mp

from eva_core import interrupts
from eva_pretrain.run.stopping import Stopping


def test_a_signal_and_a_time_limit_have_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Stopping(None, time.monotonic()).exit_code() == 0
    assert Stopping(1.0, time.monotonic()).exit_code() == 0
    assert Stopping(1.0, time.monotonic() - 3601).exit_code() == 75
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 75)):
        monkeypatch.setattr(interrupts, "stopped_by", lambda number=number: number)
        assert Stopping(None, 0.0).exit_code() == code


def work(rank: int, port: int, output: Path) -> None:
    """Steps of a rank; the second rank alone is told to stop, in its third step."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    interrupts.install()
    stopping, steps = Stopping(None, 0.0), 0
    with interrupts.deferred(""):
        while not (code := stopping.exit_code()) and steps < 20:
            steps += 1
            if (rank, steps) == (1, 3):
                signal.raise_signal(signal.SIGTERM)
        torch.save((steps, code), output / f"{rank}.pt")
        dist.barrier()
        os._exit(0)


def test_ranks_stop_after_the_same_step(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (port, tmp_path), nprocs=2)
    assert [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)] == [(4, 143)] * 2  # one later than it was told
