"""The one live table of a running board: models down, tasks across, time left below."""

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live as RichLive
from rich.markup import escape
from rich.table import Table

from eva_core import progress
from eva_core.boards.board import Board, Pair
from eva_core.results.record import read_results
from eva_core.results.report import number
from eva_core.shown import visible


class Live:
    """Live table of a board; lines instead where stderr is not a terminal.

    `with Live(board, pairs, todo) as live:`, then `begin` and `end` each of `todo`.
    """

    def __init__(self, board: Board, pairs: list[Pair], todo: list[Pair]) -> None:
        self.board, self.pairs = board, pairs
        self.state = {(p.model, p.task): _shown(p, p not in todo) for p in pairs}
        self.left = len(todo)
        self.total = self.left
        self.started = time.monotonic()
        self.console = Console(stderr=True)
        self._live = RichLive(get_renderable=self._table, console=self.console) if _on_screen() else None
        self._quiet: Any = progress.quiet(self.console)

    def __enter__(self) -> "Live":
        if self._live:
            self._quiet.__enter__()
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
            self._quiet.__exit__(kind, error, trace)

    def begin(self, pair: Pair) -> None:
        """Show a pair as running."""
        self.state[pair.model, pair.task] = "[yellow]running"

    def end(self, pair: Pair, reason: str | None) -> None:
        """Show the scores of a pair, or why it failed."""
        self.left -= 1
        self.state[pair.model, pair.task] = _shown(pair, reason is None)
        if not self._live:
            what = f"failed: {reason}" if reason else self.state[pair.model, pair.task]
            progress.say(f"{pair.model} on {pair.task}: {what} ({self.time_left()})")

    def time_left(self) -> str:
        """Number of pairs to go, and the time they take by the mean of those that ended."""
        if not self.left:
            return "nothing to go"
        ended = self.total - self.left
        if not ended:
            return f"{self.left} to go"
        seconds = (time.monotonic() - self.started) / ended * self.left
        return (
            f"{self.left} to go, about {seconds / 60:.0f} min"
            if seconds >= 90
            else f"{self.left} to go, about {seconds:.0f} s"
        )

    def _table(self) -> Table:
        table = Table(
            title=escape(visible(self.board.title)),
            caption=self.time_left() if self.left else None,
            title_justify="left",
            caption_justify="left",
        )
        table.add_column("model")
        for task in self.board.tasks:
            table.add_column(escape(task.name), justify="right")
        for model in self.board.models:
            table.add_row(escape(model.name), *(self.state[model.name, task.name] for task in self.board.tasks))
        return table


def _on_screen() -> bool:
    return sys.stderr.isatty() and not progress.is_quiet()


def _shown(pair: Pair, done: bool) -> str:
    """The main value of each head, or how far the pair is."""
    if done:
        return " ".join(number(read_results(pair.result(head))["main"]["mean"]) for head in pair.heads)
    return "failed" if pair.failure else "·"
