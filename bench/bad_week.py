"""Simulate a bad week: commands killed at random moments, and bits flipped in every kind of file that eva writes.

A killed command, given again, must end as if it had not been killed; a flipped bit must be reported in one line, mended
or harmless. Prints tables of counts as Markdown and a line for each fault; exits with 1 where there is a fault.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from week.commands import load
from week.flips import KINDS, flip_often
from week.kills import KILLED, kill_often

FLIPPED = ("reported", "made again", "harmless", "another result", "unexplained", "hung")


def table(title: str, columns: tuple[str, ...], rows: dict[str, Counter[str]]) -> str:
    """Write counts as Markdown, with their sums."""
    rows = {**rows, "sum": sum(rows.values(), Counter())}
    lines = [[title, *columns], ["---", *("--:" for _ in columns)]]
    lines += [[name, *(str(counts[column]) for column in columns)] for name, counts in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="number of kills, over all commands")
    parser.add_argument("--flips", type=int, default=300, help="number of flipped bits, over all kinds of files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="text in the names of commands and kinds to take")
    given = parser.parse_args()
    load()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        began = time.monotonic()
        killed = [entry for entry in KILLED if given.only in entry[0].name] if given.kills else []
        rows = {}
        for world, outcome in killed:
            rows[world.name], new_faults = kill_often(
                world, outcome, given.kills // len(killed), Path(scratch), given.seed
            )
            faults += new_faults
        if rows:
            print(table("killed", ("killed", "had ended", "equal", "faults"), rows), end="\n\n", flush=True)
        kinds = [kind for kind in KINDS if given.only in kind.name] if given.flips else []
        if kinds:
            rows, new_faults = flip_often(kinds, given.flips, Path(scratch), given.seed)
            faults += new_faults
            print(table("one bit flipped in", FLIPPED, rows), end="\n\n")
        print(f"{len(faults)} faults, {time.monotonic() - began:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
