"""One progress bar on stderr, with a rate; quiet lines instead where stderr is not a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eva_core import interrupts, shown

_quiet = False


@contextmanager
def quiet() -> Iterator[None]:
    """Show no bars and no lines within: something larger is on the screen."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


def say(line: str) -> None:
    """Print a line for the user on stderr: stdout is for results."""
    if not _quiet:
        print(shown.visible(line), file=sys.stderr)


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


class Bar:
    """Progress bar: `with Bar("what", total, "images") as bar: bar.advance(n)`."""

    def __init__(self, what: str, total: int, unit: str, visible: bool = True) -> None:
        self.what, self.total, self.unit = shown.visible(what), total, unit
        self.done = 0
        self.started = time.monotonic()
        self.visible = visible and not _quiet
        self._live = self.visible and sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self._live,
        )
        self._task = self._progress.add_task(self.what, total=total, rate="")

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self.visible and not self._live and kind is None:
            print(f"{self.what}: {self.done} {self.unit}, {self._rate()}", file=sys.stderr)

    def advance(self, amount: int) -> None:
        """Show that so many more are done."""
        self.update(self.done + amount, self.total)

    def update(self, done: int, total: int) -> None:
        """Show how many are done of how many.

        Raises:
            KeyboardInterrupt: The command is being stopped.
        """
        interrupts.check()
        self.done = done
        self._progress.update(self._task, completed=done, total=total, rate=self._rate())

    def _rate(self) -> str:
        return f"{self.done / max(time.monotonic() - self.started, 1e-9):,.1f} {self.unit}/s"
