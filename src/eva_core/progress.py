"""Progress on stderr: a live line for each stage on a terminal, plain lines in a log, and at the end their seconds.

How much is shown is `EVA_VERBOSITY`: the processes that a command starts show as much as it does itself.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TextIO, cast

from eva_core import interrupts, shown
from eva_core.live_lines import AboveLines, LiveLines

if TYPE_CHECKING:
    from rich.console import Console

VERBOSITY = "EVA_VERBOSITY"
Verbosity = Literal["quiet", "verbose"]
HELP = "--quiet shows errors and warnings only, --verbose also on a terminal what goes to a log."
_LOG_EVERY = 60.0
"""Seconds between two lines of a long stage in a log."""
_MOST = 12
"""Stages that a summary names."""


class _State:
    """What is shown in this process, the seconds that stages took, and when the first of them began."""

    hidden = False
    lines = LiveLines()
    stages: dict[str, float] = {}  # noqa: RUF012  (of the one instance)
    first: float | None = None


_state = _State()


def is_quiet() -> bool:
    """Whether nothing is shown but errors and warnings."""
    return _state.hidden or os.environ.get(VERBOSITY) == "quiet"


def is_verbose() -> bool:
    """Whether a terminal shows what a log does, too."""
    return os.environ.get(VERBOSITY) == "verbose"


@contextmanager
def quiet(console: "Console | None" = None) -> Iterator[None]:
    """Show no bars and no lines within: something larger is on the screen.

    Args:
        console: What draws it.
    """
    before = _state.hidden, _state.lines.larger
    _state.hidden, _state.lines.larger = True, console
    try:
        yield
    finally:
        _state.hidden, _state.lines.larger = before


@contextmanager
def reported(verbosity: Verbosity | None = None) -> Iterator[None]:
    """Show the progress of a command, and at its end the seconds of each stage.

    Args:
        verbosity: `quiet` or `verbose`; what the environment says unless given.
    """
    stream, before, began = sys.stderr, os.environ.get(VERBOSITY), time.monotonic()
    if verbosity is not None:
        os.environ[VERBOSITY] = verbosity
    if stream.isatty():
        sys.stderr = cast(TextIO, AboveLines(stream, _state.lines))
    _state.stages, _state.first = {}, None
    try:
        yield
        _summarise(began)
    finally:
        sys.stderr = stream
        os.environ.pop(VERBOSITY, None)
        os.environ.update({} if before is None else {VERBOSITY: before})


def say(line: str) -> None:
    """Print a line for the user on stderr: stdout is for results."""
    if not is_quiet():
        print(shown.visible(line), file=sys.stderr)


def log(line: str) -> None:
    """Print a line that a log needs; a terminal has its live line instead."""
    if is_verbose() or not sys.stderr.isatty():
        say(line)


class Spaced:
    """Calls a function at most so often that it takes a tenth of the time; `finish` makes up for a call left out."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._next = 0.0
        self._owed = False

    def __call__(self) -> None:
        """Call, if its time has come; else owe it."""
        self._owed = True
        if time.monotonic() >= self._next:
            self.finish()

    def finish(self) -> None:
        """Call, where the last call was left out."""
        if self._owed:
            began = time.monotonic()
            self._call()
            self._owed, self._next = False, 10 * time.monotonic() - 9 * began


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Take the time of a stage that is shown elsewhere, as by another process."""
    began = time.monotonic()
    yield
    _note(shown.visible(what), time.monotonic() - began)


@contextmanager
def stage(what: str, visible: bool = True) -> Iterator[None]:
    """Show what is being done, where it cannot be said how far it is: a log has its line before it begins.

    Args:
        what: What is done.
        visible: Whether it is shown at all.
    """
    if not visible:
        yield
    elif sys.stderr.isatty():
        with Bar(what):
            yield
    else:
        _state.first = _state.first or time.monotonic()
        say(f"{what} ...")
        with timed(what):
            yield


class Bar:
    """Progress of a stage: `with Bar("what", total, "images") as bar: bar.advance(n)`.

    Without a total, the time since its begin is shown.
    """

    def __init__(
        self, what: str, total: int = 0, unit: str = "", visible: bool = True, done: int = 0, lines: bool = True
    ) -> None:
        """Set up the bar.

        Args:
            what: Name of the stage.
            total: All that there is to do; 0 where that is not known.
            unit: What is counted.
            visible: Whether it is shown at all.
            done: How many were done earlier.
            lines: Whether a log gets lines between begin and end.
        """
        self.what, self.total, self.unit = shown.visible(what), total, unit
        self.done = self._before = done
        self.started = time.monotonic()
        self.visible = visible
        self._live = visible and not is_quiet() and sys.stderr.isatty()
        _state.first = _state.first or self.started
        self._told = self.started if lines else math.inf

    def __enter__(self) -> "Bar":
        if self._live:
            self._line = _state.lines.begin(self.what, self.total, self.done)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            _state.lines.end(self._line)
        if self.visible and kind is None:
            seconds = time.monotonic() - self.started
            _note(self.what, seconds)
            rate = f"{self._rate()}, " if self.done else ""
            count = f"{self.done} {self.unit}, {rate}" if self.unit else ""
            log(f"{self.what}: {count}{_duration(seconds)}")

    def advance(self, amount: int) -> None:
        """Show that so many more are done."""
        self.update(self.done + amount, self.total)

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show how many are done of how many.

        Args:
            done: How many are done.
            total: How many there are; 0 where that is not known.
            note: Shown behind them on a terminal.

        Raises:
            KeyboardInterrupt: The command is being stopped.
        """
        interrupts.check()
        self.done, self.total = done, total
        if self._live:
            _state.lines.update(self._line, done, total, self._rate(), note)
        elif self.visible and time.monotonic() - self._told >= _LOG_EVERY:
            self._told = time.monotonic()
            log(f"{self.what}: {done} of {total or 'unknown'} {self.unit}, {self._rate()}{self._left()}")

    def _rate(self) -> str:
        return f"{(self.done - self._before) / max(time.monotonic() - self.started, 1e-9):,.1f} {self.unit}/s"

    def _left(self) -> str:
        if not self._before < self.done < self.total:
            return ""
        seconds = (time.monotonic() - self.started) / (self.done - self._before) * (self.total - self.done)
        return f", {_duration(seconds)} left"


def _note(what: str, seconds: float) -> None:
    _state.stages[what] = _state.stages.get(what, 0) + seconds


def _summarise(began: float) -> None:
    """Print the seconds of each stage, the longest where there are many."""
    stages, terminal = _state.stages, sys.stderr.isatty()
    if is_quiet() or len(stages) < (1 if terminal else 2):
        return
    named = _MOST if len(stages) > _MOST + 1 else len(stages)  # one other has a name, too
    longest = sorted(stages, key=lambda name: -stages[name])[:named]
    rows = [(name, stages[name]) for name in stages if name in longest]
    if len(stages) > len(rows):
        rows.append((f"{len(stages) - len(rows)} others", sum(stages.values()) - sum(s for _, s in rows)))
    rows = [("starting", (_state.first or began) - began), *rows, ("in all", time.monotonic() - began)]
    if not terminal:
        print("; ".join(f"{name} {_duration(s)}" for name, s in rows), file=sys.stderr)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for name, s in rows:
        table.add_row(Text(f"  {name}"), _duration(s))
    Console(stderr=True).print(table, style="dim", highlight=False)


def _duration(seconds: float) -> str:
    """Seconds as a person says them.

    Examples:
        >>> _duration(3.14), _duration(200), _duration(7300)
        ('3.1 s', '3 min 20 s', '2 h 01 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
