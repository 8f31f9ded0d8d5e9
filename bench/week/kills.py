"""kill -9 at random moments: the same command again must give what an undisturbed run gives, and leave no more."""

import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from week.commands import eva, forked
from week.worlds import (
    BOARD,
    FIT,
    INDEX,
    STORE,
    STUDY,
    TRAIN,
    World,
    board,
    export,
    for_board,
    for_study,
    fresh,
    images,
    index,
    patches,
    results,
    slides,
    stores,
    study,
)

KILLED = [
    (World("predict", images, [STORE]), stores),
    (World("fit", images, [FIT]), lambda: results("result")),
    (World("leaderboard", for_board, [BOARD]), board),
    (World("slides_index", slides, [INDEX]), index),
    (World("pretrain", patches, [TRAIN]), export),
    (World("study", for_study, [STUDY]), study),
]
"""Commands, and functions whose value is the same for equal outcomes."""
EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.truncate"}


def kill_often(
    world: World, outcome_of: Callable[[], Any], times: int, root: Path, seed: int
) -> tuple[Counter[str], list[str]]:
    """Kill a command many times: every other time by the clock, else as it is about to change a file.

    Returns:
        Counts of outcomes, and a line for each fault.
    """
    rng = random.Random(f"{seed} {world.name}")
    folder = fresh(world, root)
    whole = forked(lambda: (_count(events := [0]), eva(*world.commands), outcome_of(), events[0])[2:], folder)
    assert whole.result is not None, whole.stderr
    outcome, events = whole.result
    files, counts, faults = _files(folder), Counter[str](), []
    for number in range(times):
        folder = fresh(world, root)
        if number % 2:
            at = rng.uniform(0, whole.seconds)
            killed, when = forked(lambda: eva(*world.commands), folder, kill_at=at), f"{at:.2f} s"
        else:
            at = rng.randrange(events)
            killed, when = forked(lambda at=at: (_count([0], at), eva(*world.commands)), folder), f"change {at}"
        counts["killed" if killed.code else "had ended"] += 1
        again = forked(lambda: (eva(*world.commands), outcome_of())[1], folder)
        left = sorted(_files(folder) - files)
        fault = (
            f"ended with {again.code}: {again.stderr.strip()[-200:]}"
            if again.code or again.unexplained
            else f"another result: {_differing(again.result, outcome)}"
            if again.result != outcome
            else f"left {', '.join(left)}"
            if left
            else None
        )
        counts["faults" if fault else "equal"] += 1
        if fault:
            faults.append(f"{world.name}, killed at {when} of {whole.seconds:.2f} s and {events}: {fault}")
            print(faults[-1], file=sys.stderr)
    print(f"{world.name}: {dict(counts)}", file=sys.stderr, flush=True)
    return counts, faults


def _count(events: list[int], at: int | None = None) -> None:
    """Count the changes of files by this process, and kill its group before change number `at`."""

    def hook(event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in EVENTS:
            if at is not None and events[0] == at:
                os.killpg(0, signal.SIGKILL)
            events[0] += 1

    sys.addaudithook(hook)


def _files(folder: Path) -> set[str]:
    """List files without locks, of which a killed process leaves one that is empty, and logs of TensorBoard."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)) for p in files if p.suffix != ".lock" and ".tfevents." not in p.name}


def _differing(one: dict, other: dict) -> list[str]:
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]
