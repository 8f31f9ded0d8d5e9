"""Live lines on a terminal: one a stage, and whatever is written meanwhile goes above them."""

import logging
import os
import pty
import subprocess
import sys

import pytest

PROGRAM = """
import logging, os, sys, time, warnings
from eva_core import progress
with progress.reported():
    library = logging.getLogger("library")
    library.addHandler(logging.StreamHandler())  # keeps the stderr that it finds
    with progress.Bar("extracting", 40, "images") as bar:
        for step in range(4):
            bar.update(10 * step, 40, note="loss 3.2")
            time.sleep(0.15)
            if step == 1:
                library.warning("of a library")
                print("of a\\x1b[2K name", file=sys.stderr)
                if not os.fork():
                    library.warning("of a worker")
                    os._exit(0)
                os.wait()
    print("behind", file=sys.stderr)
"""


def on_a_terminal(program: str) -> str:
    """What a terminal receives of a program."""
    own, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen([sys.executable, "-c", program], stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        received = b""
        while True:
            try:
                part = os.read(own, 65536)
            except OSError:  # nobody writes any more
                break
            if not part:
                break
            received += part
    os.close(own)
    assert process.returncode == 0, received.decode()
    return received.decode()


@pytest.fixture(scope="module")
def received() -> str:
    return on_a_terminal(PROGRAM)


def test_a_stage_has_a_live_line_with_count_rate_time_left_and_note(received: str):
    assert "extracting" in received
    assert "20/40" in received
    assert "images/s" in received
    assert "left" in received
    assert "loss 3.2" in received


def test_what_libraries_and_forks_write_goes_above_the_line(received: str):
    for line in ("of a library", "of a worker"):
        before = received[: received.index(line)]
        assert before.endswith(("\r", "\x1b[2K")), before[-80:]  # on a line that is cleared
        after = received[received.index(line) + len(line) :]
        assert after.startswith("\r\n")  # with nothing behind it
        assert "extracting" in after  # and the live line is drawn again


def test_the_line_goes_at_the_end_and_what_follows_is_plain(received: str):
    tail = received[received.index("behind") :]
    assert "extracting" in tail  # in the summary
    assert "images/s" not in tail
    assert "\x1b[?25h" in received  # the cursor is shown again


def test_loggers_write_plainly_without_a_terminal():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[0] == "of a library"
    assert "\x1b[?25" not in done.stderr
    assert logging.getLogger("library").handlers == []  # it was another process
