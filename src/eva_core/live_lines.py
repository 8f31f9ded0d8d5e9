"""Live lines at the bottom of a terminal, one for each stage that runs; what others write to stderr goes above them."""

import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:  # a third of the start of a command that draws nothing
    from rich.console import Console
    from rich.progress import Progress, TaskID

_CLEAR = "\r\x1b[2K"
"""Go to the begin of the line, and clear it."""


class LiveLines:
    """The lines of the stages that run at a time; drawn from the first `begin` to the last `end`.

    Attributes:
        larger: What draws something larger in their place.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self.larger: Console | None = None

    @property
    def console(self) -> "Console | None":
        """What draws at the bottom of the terminal; None where nothing is there."""
        return self.larger if self._progress is None else self._progress.console

    def begin(self, what: str, total: int, done: int = 0) -> "TaskID":
        """Add a line.

        Args:
            what: Name of the stage.
            total: All that there is to do; 0 where that is not known.
            done: How many were done earlier.
        """
        if self._progress is None:
            from eva_core.live_columns import drawn

            self._progress = drawn(redirect_stderr=not isinstance(sys.stderr, AboveLines))
            self._progress.start()
        return self._progress.add_task(what, total=total or None, completed=done, rate="", note="")

    def update(self, line: "TaskID", done: int, total: int, rate: str, note: str) -> None:
        """Change a line."""
        if self._progress is not None:
            self._progress.update(line, completed=done, total=total or None, rate=rate, note=note)

    def end(self, line: "TaskID") -> None:
        """Remove a line."""
        if self._progress is None:
            return
        self._progress.remove_task(line)
        if not self._progress.tasks:
            self._progress.stop()
            self._progress = None


class AboveLines:
    """Stands for stderr: whole lines go above the live ones, from loggers and from forked processes too.

    It is there before libraries are imported, as their loggers keep what they find.
    """

    def __init__(self, stream: TextIO, lines: LiveLines) -> None:
        self.rich_proxied_file = stream  # where rich writes what it draws
        self._stream, self._lines, self._process, self._part = stream, lines, os.getpid(), ""

    def write(self, text: str) -> int:
        """Write text; an unfinished line waits for its end while live lines are shown."""
        console = self._lines.console
        if console is None:
            waiting, self._part = self._part, ""
            self._stream.write(waiting + text)
            return len(text)
        from rich.text import Text

        *whole, self._part = (self._part + text).split("\n")
        for line in whole:
            shown = line.rpartition("\r")[2]
            if os.getpid() == self._process:
                console.print(Text.from_ansi(shown), soft_wrap=True, highlight=False)
            else:  # a fork: locks of the console may be held for ever, and what we clear is drawn again by its owner
                self._stream.write(f"{_CLEAR}{shown}\n")
                self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
