"""`eva leaderboard`: many models on many tasks: what is missing is run, and all of it shown on one page."""

import argparse
import sys
from pathlib import Path
from typing import Any

from eva_core.boards.board import Pair, check, read_board
from eva_core.boards.rows import Standings
from eva_core.boards.run import run_here, run_on_ray
from eva_core.boards.standings import Scoreboard, outside_tolerance
from eva_core.config.argparser import Parser
from eva_core.files.atomic_files import make_folder
from eva_core.files.checksums import Verified
from eva_core.progress import Spaced
from eva_core.shown import visible

NOTES = ".verified.json"
HERE_FIELDS = ("device", "devices", "batch_size", "workers", "on_error", "memory_gb")


def main(argv: list[str]) -> int:
    """Run `eva leaderboard`: 1 where nothing could be scored, a published value is missed, or a score is wrong."""
    given = _parser().parse_args(argv)
    board = read_board(given.config)
    output = Path(given.output or Path("out") / "boards" / board.name)
    make_folder(output)
    scores = Scoreboard(board, output)
    if given.run:
        _run(scores, given)
    for line in _merged(scores, given.merge):
        print(visible(f"eva: {line}"), file=sys.stderr)
    standings = scores.standings()
    if given.run and not standings.tested:
        from eva_core.boards.significance import write_comparisons

        write_comparisons(standings, output)
        standings = scores.standings()
    broken = _verified(standings, output) if given.verify else False
    written = _write(standings, output)
    if given.published:
        return _check(standings, board.tolerance if given.tolerance is None else given.tolerance)
    failed = sum(cell.reason is not None for row in standings.rows for cell in row.cells.values())
    if failed:
        print(
            f"eva: {failed} scores are missing; the page says why. The same command tries them again.", file=sys.stderr
        )
    print(written)
    return 0 if failed < sum(len(row.cells) for row in standings.rows) and not broken else 1


def _merged(scores: Scoreboard, sources: list[str]) -> list[str]:
    """Take the results of others; returns what was not taken, and what contradicts what is here."""
    if not sources:
        return []
    from eva_core.boards.community import merge

    refused = merge(scores, sources)
    return [*refused, *(f"conflict: {line}" for line in scores.conflicts)]


def _verified(standings: Standings, output: Path) -> bool:
    """Verify each score, say what does not hold; returns whether any is wrong."""
    from eva_core.boards.verified import verify_cells

    for line in verify_cells(standings, output):
        print(visible(f"eva: {line}"), file=sys.stderr)
    return any(cell.verified is False for row in standings.rows for cell in row.cells.values())


def _parser() -> Parser:
    parser = Parser(prog="eva leaderboard", description=__doc__)
    parser.add_argument("--config", required=True, help="a board: a YAML file, or its name under configs/")
    parser.add_argument("--output", help="folder for results and page, else out/boards/NAME")
    parser.add_argument("--no-run", dest="run", action="store_false", help="show what is there, run nothing")
    parser.add_argument("--published", action="store_true", help="exit 1 where a published value is not reproduced")
    parser.add_argument("--tolerance", type=float, help="for --published; the board's own unless given")
    parser.add_argument("--verify", action="store_true", help="make each score again from its predictions, and mark it")
    parser.add_argument(
        "--merge",
        nargs="+",
        default=[],
        metavar="RESULTS",
        help="results of others that verify: folders with results below, or hf-hub:owner/dataset",
    )
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: pairs over a cluster")
    parser.add_argument("--address", help="of the Ray cluster; a local one unless given")
    parser.add_argument("--cpus", type=float, default=1, help="cores for a pair, with ray")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs for a pair, with ray")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    parser.add_argument("--devices", type=int, default=1, help="how many for one model")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--workers", type=int, help="loader processes per device; as many as help unless given")
    parser.add_argument("--on_error", choices=("raise", "skip"), default="raise", help="at an image that does not read")
    parser.add_argument(
        "--memory_gb", type=float, default=4.0, help="of feature maps held in memory while heads are trained on them"
    )
    return parser


def _run(scores: Scoreboard, given: argparse.Namespace) -> None:
    notes = Verified(scores.output / NOTES)
    todo = [pair for pair in scores.pairs if not pair.is_whole(notes)]
    notes.keep()
    if not todo:
        return
    from eva_core.boards.live import Live
    from eva_core.extraction.settings import Extraction

    check(scores.board)
    how: dict[str, Any] = {name: getattr(given, name) for name in HERE_FIELDS}
    Extraction(**how)  # a wrong number is one line here, not one for each pair
    page = Spaced(lambda: _write(scores.standings(), scores.output))
    try:
        with Live(scores.board, scores.pairs, todo) as live:

            def end(pair: Pair, reason: str | None) -> None:
                live.end(pair, reason)
                scores.update(pair)
                page()  # each result as it comes

            if given.engine == "ray":
                run_on_ray(todo, how, live.begin, end, given.cpus, given.gpus, given.address)
            else:
                run_here(todo, how, live.begin, end)
    finally:
        page.finish()


def _write(standings: Standings, output: Path) -> Path:
    from eva_core.boards.page import write_page
    from eva_core.boards.tables import write_tables

    write_tables(standings, output)
    return write_page(standings, output / "leaderboard.html")


def _check(standings: Standings, tolerance: float) -> int:
    lines, checked = outside_tolerance(standings, tolerance)
    for line in lines:
        print(visible(f"eva: not reproduced: {line}"), file=sys.stderr)
    print(f"{checked - len(lines)} of {checked} results with a published value of the same protocol are reproduced.")
    return 1 if lines or not checked else 0
