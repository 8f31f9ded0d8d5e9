"""What a live line shows: name, bar, count, rate, time left."""

import sys
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text
from typing_extensions import override


class _Count(ProgressColumn):
    """How many are done of how many."""

    @override
    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(f"{task.completed:,.0f}" if task.completed else "")
        return Text(f"{task.completed:,.0f}/{task.total:,.0f}")


class _Left(ProgressColumn):
    """Time left; where that is not known, the time since the begin."""

    @override
    def render(self, task: Task) -> Text:
        if task.time_remaining is None:
            return Text(_clock(task.elapsed or 0), style="dim")
        return Text(f"{_clock(task.time_remaining)} left", style="cyan")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def drawn(redirect_stderr: bool) -> Progress:
    """What draws the lines of stages on stderr.

    Args:
        redirect_stderr: Whether what others write to stderr goes above the lines by rich's own means.
    """

    def one_line(field: str, style: str = "none", **more: Any) -> TextColumn:
        column = Column(no_wrap=True, overflow="ellipsis", **more)
        return TextColumn(f"{{task.{field}}}", style=style, markup=False, table_column=column)

    return Progress(
        SpinnerColumn(),
        one_line("description"),
        BarColumn(20),
        _Count(table_column=Column(no_wrap=True)),
        one_line("fields[rate]"),
        _Left(table_column=Column(no_wrap=True)),
        one_line("fields[note]", "dim"),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=redirect_stderr,
    )
