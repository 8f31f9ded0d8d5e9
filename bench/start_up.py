"""Seconds from the shell prompt to the answer of `eva --help` and `eva models`: median of several whole processes."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

EVA = Path(sys.executable).with_name("eva")


def seconds(*argv: str) -> float:
    started = time.perf_counter()
    subprocess.run([EVA, *argv], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    commands = {"eva --help": ["--help"], "eva models": ["models"]}
    print(
        json.dumps(
            {name: round(statistics.median(seconds(*argv) for _ in range(7)), 3) for name, argv in commands.items()}
        )
    )
