"""`eva demo`: from synthetic slides to a small DINOv2, and its score beside random weights and colour on a page."""

import os
import shutil
import sys
import webbrowser
from pathlib import Path

import yaml

from eva_core.commands import leaderboard
from eva_core.errors import UsageError
from eva_core.progress import Bar, say
from eva_pretrain.run.config import parse
from eva_pretrain.run.pretrain import export_initial_weights, pretrain
from eva_vision.synthetic.slides import write_pattern_slide

OUTPUT = Path("out/demo")
SLIDES = 6
TRAINED, RANDOM, COLOUR = "pretrained_here", "same_with_random_weights", "colour_stats"
TASK = "phantom_patterns"


def main(argv: list[str]) -> int:
    """Draw synthetic slides, train on them and evaluate; all files stay in out/demo."""
    if argv in (["-h"], ["--help"]):
        print("usage: eva demo\n\nSynthetic slides -> a small DINOv2 -> its score on one page; all in out/demo.")
        return 0
    if argv:
        raise UsageError(f"Expected `eva demo` alone, but got {' '.join(argv)!r}.")
    code = run(OUTPUT)
    print((OUTPUT / "leaderboard.md").read_text())
    say("No image is tissue: the order of the models says nothing about pathology.")
    open_page(OUTPUT / "leaderboard.html")
    return code


def open_page(page: Path) -> None:
    """Open a page in the browser of whoever sits in front of a terminal with a screen; else name it."""
    screen = sys.platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    if sys.stdout.isatty() and screen and webbrowser.open(page.resolve().as_uri()):
        say(f"Opened {page} in your browser.")
    else:
        say(f"Open {page} in a browser.")


def run(output: Path, seed: int = 0) -> int:
    """Draw slides, train on them, and evaluate on patches of other synthetic patients.

    Args:
        output: The folder of everything; emptied first.
        seed: Decides slides, weights, training, and the patches of the task.

    Returns:
        The exit code of the board.
    """
    shutil.rmtree(output, ignore_errors=True)  # its own folder; another version may have left other results there
    with Bar("Drawing SYNTHETIC slides", SLIDES, "slides") as bar:
        for number in range(SLIDES):
            write_pattern_slide(output / "slides" / f"phantom_{number}.svs", seed=seed * SLIDES + number)
            bar.advance(1)
    arguments = ["--config", "demo_patterns", "--slides", f"{output}/slides/*.svs", "--seed", str(seed), "--output"]
    export = pretrain(parse([*arguments, str(output / "pretrain")]))
    initial = export_initial_weights(parse([*arguments, str(output / "start"), "--name", "demo-start"]))
    say(f"What the network saw: {output}/pretrain/crops.png; what it learnt: {output}/pretrain/pca-*.png")
    board = {
        "name": "demo",
        "title": "SYNTHETIC patches: a small DINOv2 that has seen synthetic slides",
        "protocol": "strict",
        "heads": ["logreg"],
        "models": [
            {"name": TRAINED, "class_path": str(export)},
            {"name": RANDOM, "class_path": str(initial)},
            COLOUR,
        ],
        "tasks": [{"name": TASK, "config": TASK, "init_args": {"seed": seed}}],
    }
    (output / "board.yaml").write_text(yaml.safe_dump(board, sort_keys=False))
    return leaderboard.main(["--config", str(output / "board.yaml"), "--output", str(output)])
