"""The commands `eva pretrain` and `eva export`; torch is imported only when they run."""

import sys
from pathlib import Path

from eva_core.config.argparser import Parser
from eva_core.errors import UsageError
from eva_core.progress import Bar

WATCH = "--watch"


def main(argv: list[str]) -> int:
    """Train, export, and print the folder of the export; or make the page of a run anew, and open it."""
    if argv and argv[0].partition("=")[0] == WATCH:
        return watch(argv)
    if {"-h", "--help"} & {*argv}:
        from eva_pretrain.run.help_page import page

        print(page(argv))
        return 0
    with Bar("Importing torch", visible=sys.stderr.isatty()):  # in a log, a wrong setting is the only line
        from lightning.pytorch.utilities import rank_zero_only

        from eva_pretrain.run.config import parse
        from eva_pretrain.run.pretrain import pretrain

    rank_zero_only(print)(pretrain(parse(argv)))
    return 0


def export(argv: list[str]) -> int:
    """Export a run at a step, and print the folder of the export."""
    parser = Parser(
        prog="eva export",
        description="Make the folder that --model takes from a run of `eva pretrain`, at any step of which it has a "
        "checkpoint or a snapshot (--training.keep_every): while it goes on, or after it was stopped.",
    )
    parser.add_argument("run", help="folder of the run: its --output")
    parser.add_argument("--step", default="last", help="the step, or best, by the monitor's kNN; default: last")
    parser.add_argument("--weights", choices=("teacher", "student"), default="teacher", help="network to export")
    parser.add_argument("--output", help="folder of the export; default: RUN/exports/step-N")
    given = parser.parse_args(argv)
    if given.step not in ("last", "best") and not given.step.isdecimal():
        raise UsageError(f"Expected --step as a number, last or best, but got {given.step!r}.")
    from eva_pretrain.run.export_run import export_step

    step = int(given.step) if given.step.isdecimal() else given.step
    print(export_step(given.run, step, given.weights, given.output))
    return 0


def watch(argv: list[str]) -> int:
    """Make the page of a run from its files, whether it is going on, was stopped or is finished.

    Raises:
        UsageError: The folder holds no run.
    """
    from eva_core.results.record import CONFIG
    from eva_pretrain.monitor.lines import LOG, MEASURES
    from eva_pretrain.monitor.watch import WatchPage
    from eva_pretrain.run.browser import open_page
    from eva_pretrain.run.sole_process import is_held

    parser = Parser(prog="eva pretrain", description="Make the page of a run anew from its files, and open it.")
    parser.add_argument(WATCH, metavar="OUT", required=True, help="folder of the run: its --output")
    output = Path(parser.parse_args(argv).watch)
    finished = (output / "export" / "card.json").exists()
    if not finished and not any((output / name).exists() for name in (CONFIG, LOG, MEASURES)):
        raise UsageError(f"Expected the folder of a run of `eva pretrain` after {WATCH}, but got {output}.")
    page = WatchPage(output).write("training" if is_held(output) else "finished" if finished else "stopped")
    open_page(page)
    print(page)
    return 0
