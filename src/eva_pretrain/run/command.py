"""The commands `eva pretrain` and `eva export`; torch is imported only when they run."""

from eva_core.config.argparser import Parser
from eva_core.errors import UsageError


def main(argv: list[str]) -> int:
    """Train, export, and print the folder of the export."""
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
