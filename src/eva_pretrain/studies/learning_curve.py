"""The command `eva board`: the snapshots of a run as the models of a leaderboard, and their scores by step."""

import json
from pathlib import Path
from typing import Any

import yaml

from eva_core.boards.board import read_board
from eva_core.boards.rows import Cell, Standings
from eva_core.boards.standings import standings
from eva_core.commands import leaderboard
from eva_core.config.argparser import Parser
from eva_core.errors import UsageError
from eva_core.files.atomic_files import make_folder, write_text
from eva_core.results.record import read_results
from eva_core.results.report import number
from eva_core.shown import visible

EPILOG = "All other flags are those of `eva leaderboard`: --device, --batch_size, --engine ray, --no-run, ..."
_NOTE = (
    "Bars are 95 % intervals of each score. Who picks the best step by a score reports the best of many looks: pick on "
    "one dataset, report on another."
)
_STEP = "step-"


def main(argv: list[str]) -> int:
    """Score all snapshots of a run, and draw their scores by step; return what the leaderboard returns."""
    parser = Parser(
        prog="eva board",
        description="Score every snapshot of a run (--training.keep_every), its last checkpoint and the best of its "
        f"monitor, and draw the scores by step: the learning curve of the evaluation. {EPILOG}",
    )
    parser.add_argument("run", type=Path, help="folder of a run of `eva pretrain`, which may still go on")
    parser.add_argument("--tasks", nargs="+", required=True, help="datasets or configs to score on")
    parser.add_argument("--protocol", default="strict", help="name or file of a protocol; default: strict")
    parser.add_argument("--output", type=Path, help="folder for scores, table and plot; default: RUN/board")
    given, flags = parser.parse_known_args(argv)
    run, output = given.run.expanduser().resolve(), (given.output or given.run.expanduser() / "board")
    content = {
        "name": "board",
        "title": f"Learning curve of {run.name}",
        "models": [{"name": f"{_STEP}{step}", "class_path": str(folder)} for step, folder in _exports(run).items()],
        "tasks": [{"name": Path(task).stem, "config": task} for task in given.tasks],
        "protocol": given.protocol,
    }
    make_folder(output)
    board = output / "board.yaml"
    write_text(board, yaml.safe_dump(content, sort_keys=False))
    code = leaderboard.main(["--config", str(board), "--output", str(output), *flags])
    from eva_pretrain.studies.curve_plot import draw

    curve = curve_of(standings(read_board(str(board)), output), output)
    write_text(output / "curve.json", json.dumps(curve, indent=2, allow_nan=False) + "\n")
    write_text(output / "curve.md", as_markdown(curve))
    print(draw(curve, output / "curve.png"))
    return code


def curve_of(scores: Standings, output: Path) -> dict[str, Any]:
    """Collect the scores of each task by step.

    Args:
        scores: Standings of a board whose models are named `step-N`.
        output: Folder of the board.

    Returns:
        `title`, `protocol`, and `tasks`: each with `name`, `metric`, `split`, the score of six colour numbers as
        `colour`, and `points`: `step`, `score` (None where it failed, with the `reason`) and `ci95`.
    """
    rows = sorted((int(row.model.removeprefix(_STEP)), row) for row in scores.rows)
    tasks = []
    for task in scores.tasks:
        cells = [(step, row.cells[task.name]) for step, row in rows]
        points = [{"step": n, "score": c.value, "ci95": c.ci95, "reason": c.reason} for n, c in cells]
        colour = next((_colour(output, cell) for _, cell in cells if cell.value is not None), None)
        known = {"name": task.name, "metric": task.metric_name, "split": task.split, "colour": colour}
        tasks.append({**known, "synthetic": task.synthetic, "points": points})
    return {"title": scores.title, "protocol": scores.protocol, "tasks": tasks}


def as_markdown(curve: dict[str, Any]) -> str:
    """Table of a learning curve: a row for each step, a column for each task."""
    tasks = curve["tasks"]
    heads = [f"{task['name']}, {task['metric'].replace('_', ' ')} ({task['split']})" for task in tasks]
    lines = [f"# {curve['title']}", "", f"| step | {' | '.join(heads)} |", "|---:" * (len(heads) + 1) + "|"]
    for points in zip(*(task["points"] for task in tasks), strict=True):
        lines.append(f"| {points[0]['step']:,} | {' | '.join(map(_shown, points))} |")
    lines += ["| six colour numbers | " + " | ".join(number(task["colour"]) for task in tasks) + " |", ""]
    lines += [f"Protocol {curve['protocol']}. {_NOTE}"]
    failed = {p["reason"] for task in tasks for p in task["points"] if p["reason"]}
    return "\n".join([*lines, *(f"\nNo score: {visible(reason)}" for reason in sorted(failed)), ""])


def _exports(run: Path) -> dict[int, Path]:
    """Export each snapshot, the last checkpoint and the best; folders by step.

    Raises:
        UsageError: There are none.
    """
    from eva_pretrain.run.checkpoints import best_checkpoints, saved_steps, snapshots, step_of
    from eva_pretrain.run.export_run import export_step
    from eva_vision.models.exported import read_card

    if not saved_steps(run):
        raise UsageError(
            f"Expected a run of `eva pretrain` with checkpoints or snapshots, but {run} has none. Give its --output."
        )
    # checkpoints first, by what they are: a run that goes on deletes them, and has others
    exports = [export_step(run, "best")] if best_checkpoints(run) else []
    exports += [export_step(run), *(export_step(run, step_of(file)) for file in snapshots(run))]
    return dict(sorted((read_card(folder)["step"], folder) for folder in exports))


def _colour(output: Path, cell: Cell) -> float | None:
    """Score of six colour numbers on the split of a cell."""
    content = read_results(output / cell.folder)
    main, baseline = content["main"], next(iter(content["baselines"].values()), None)
    return None if baseline is None else baseline["splits"][main["split"]]["metrics"][main["metric"]]["mean"]


def _shown(point: dict[str, Any]) -> str:
    if point["score"] is None:
        return "no score"
    low_high = point["ci95"]
    return number(point["score"]) + ("" if low_high is None else f" [{number(low_high[0])}, {number(low_high[1])}]")
