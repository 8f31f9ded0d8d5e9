"""The command `eva study`: train the variants of a pretraining, score each, and show all in a table and a plot."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from eva_core.config.argparser import Parser
from eva_core.files.atomic_files import make_folder, write_text
from eva_core.progress import Spaced, say
from eva_core.results.report import number
from eva_core.shown import visible
from eva_pretrain.run.sole_process import sole_process
from eva_pretrain.studies.study import SIDES, Study, read_study

_WIDTH = 120
"""Width in characters of a table that goes to a file or a pipe."""
EPILOG = "All other flags are those of `eva pretrain`, for every run: --slides, --recipe.steps, --vit.arch, ..."


def main(argv: list[str]) -> int:
    """Do the runs that are missing, and show the study; return 1 where no run has a score."""
    given, flags = _parser().parse_known_args(argv)
    tasks = {SIDES[0]: given.tasks or [], SIDES[1]: given.tasks_out or []}
    chosen = tasks if any(tasks.values()) else None
    study = read_study(given.config, given.base, given.seeds, given.few_seeds, chosen)
    output = Path(given.output or Path("out") / "studies" / study.name)
    from eva_pretrain.studies.plan import plan_runs

    runs = plan_runs(study, flags, output)
    if all(run.done for run in runs):
        return _show(_write(study, runs, output), output)
    make_folder(output)
    with sole_process(output):
        return _do_runs(study, runs, output, given)


def _do_runs(study: Study, runs: Sequence[Any], output: Path, given: Namespace) -> int:
    """Do the runs that are missing, and update the table as results come."""
    missing = [run for run in runs if not run.done]
    began = time.monotonic()
    table = Spaced(lambda: _write(study, runs, output))

    def end(run: Any, reason: str | None, left: int) -> None:
        table()  # each result as it comes
        seconds = (time.monotonic() - began) / (len(missing) - left) * left
        then = f"{left} to go, about {_duration(seconds)}" if left else "nothing to go"
        say(f"{run.name}: {f'failed: {reason}' if reason else _scores(run)} ({then})")

    engine = partial(_on_ray, address=given.address, cpus=given.cpus, gpus=given.gpus)
    try:
        for left, (run, reason) in zip(
            reversed(range(len(missing))), (engine if given.engine == "ray" else _here)(missing), strict=True
        ):
            end(run, reason, left)
    except BaseException:
        table.finish()
        raise
    return _show(_write(study, runs, output), output)


def _parser() -> Parser:
    parser = Parser(
        prog="eva study",
        description=f"Train the variants of a pretraining from several seeds, score each, and show them. {EPILOG}",
    )
    parser.add_argument("--config", required=True, help="study: a YAML file, or its name under configs/")
    parser.add_argument("--output", help="folder for runs and results; default: out/studies/NAME")
    parser.add_argument("--base", help="config of `eva pretrain` that replaces the study's base")
    parser.add_argument("--seeds", type=int, help="number of seeds of each variant")
    parser.add_argument("--few_seeds", action="store_true", help="allow fewer than 3 seeds")
    parser.add_argument(
        "--tasks", nargs="+", help="in-distribution tasks (datasets or configs) in place of the study's"
    )
    parser.add_argument("--tasks_out", nargs="+", help="out-of-distribution tasks in place of the study's")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: runs on a cluster")
    parser.add_argument("--address", help="address of the Ray cluster; default: a local one")
    parser.add_argument("--cpus", type=float, default=1, help="cores of a run, with ray")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of a run, with ray")
    return parser


def _here(runs: Sequence[Any]) -> Iterator[tuple[Any, str | None]]:
    from eva_pretrain.studies.runner import LOG, do_run

    for run in runs:
        say(f"{run.name}: {'scoring' if run.trained else 'training'}, {run.folder / LOG}")
        yield run, do_run(run)


def _on_ray(runs: Sequence[Any], address: str | None, cpus: float, gpus: float) -> Iterator[tuple[Any, str | None]]:
    import torch

    from eva_core.ray_cluster import each_on_ray
    from eva_pretrain.studies.runner import do_run, failed

    # as many threads as here: results are then the same to the last digit
    work = partial(do_run, threads=torch.get_num_threads())
    for run, outcome in each_on_ray(work, runs, cpus, gpus, address):
        yield run, failed(run, outcome) if isinstance(outcome, Exception) else outcome


def _write(study: Study, runs: Sequence[Any], output: Path) -> dict[str, Any]:
    from eva_pretrain.studies.plot import draw
    from eva_pretrain.studies.scores import study_record
    from eva_pretrain.studies.table import as_markdown

    record = study_record(study, runs)
    make_folder(output)
    write_text(output / "study.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_text(output / "study.md", as_markdown(record))
    draw(record, output / "study.png")
    return record


def _show(record: dict[str, Any], output: Path) -> int:
    from eva_pretrain.studies.table import failures, notes, on_screen

    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(on_screen(record))
    missing = failures(record)
    for note in notes(record)[: -len(missing) or None]:
        console.print(f"  {visible(note)}", style="dim", highlight=False, markup=False)
    for name, reason in missing:
        print(visible(f"eva: {name} has no score: {reason}"), file=sys.stderr)
    if missing:
        print("eva: The same command tries again what has no score.", file=sys.stderr)
    print(output / "study.md")
    scored = any(variant[side]["values"] for variant in record["variants"] for side in SIDES if side in variant)
    return 0 if scored else 1


def _scores(run: Any) -> str:
    from eva_core.results.record import read_results

    return ", ".join(
        f"{pair.task} {number(read_results(pair.result(pair.heads[0]))['main']['mean'])}" for pair in run.pairs
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{max(seconds / 60, 1):.0f} min"
