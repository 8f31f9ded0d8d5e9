"""`eva demo`: from synthetic slides to a small DINOv2, and its score beside random weights and colour on a page."""

import shutil
from pathlib import Path

import yaml

from eva_core.commands import leaderboard
from eva_core.errors import UsageError
from eva_core.progress import Bar, say
from eva_pretrain.run.config import parse
from eva_pretrain.run.pretrain import export_initial_weights, pretrain
from eva_vision.synthetic.slides import write_phantom_slide

OUTPUT = Path("out/demo")
SLIDES = 4


def main(argv: list[str]) -> int:
    """Draw synthetic slides, train on them and evaluate; all files stay in out/demo."""
    if argv in (["-h"], ["--help"]):
        print("usage: eva demo\n\nSynthetic slides -> a small DINOv2 -> its score on one page; all in out/demo.")
        return 0
    if argv:
        raise UsageError(f"Expected `eva demo` alone, but got {' '.join(argv)!r}.")
    shutil.rmtree(OUTPUT, ignore_errors=True)  # its own folder; another version may have left other results there
    with Bar("Drawing SYNTHETIC slides", SLIDES, "slides") as bar:
        for number in range(SLIDES):
            write_phantom_slide(OUTPUT / "slides" / f"phantom_{number}.svs", 4096, 3072, seed=number)
            bar.advance(1)
    arguments = ["--config", "demo", "--slides", f"{OUTPUT}/slides/*.svs", "--output"]
    export = pretrain(parse([*arguments, str(OUTPUT / "pretrain")]))
    initial = export_initial_weights(parse([*arguments, str(OUTPUT / "start"), "--name", "demo-start"]))
    say(f"What the network saw: {OUTPUT}/pretrain/crops.png; what it learnt: {OUTPUT}/pretrain/pca-*.png")
    board = {
        "name": "demo",
        "title": "SYNTHETIC patches: a small DINOv2 that has seen synthetic slides",
        "protocol": "strict",
        "models": [
            {"name": "pretrained_here", "class_path": str(export)},
            {"name": "same_with_random_weights", "class_path": str(initial)},
            "colour_stats",
        ],
        "tasks": ["phantom"],
    }
    (OUTPUT / "board.yaml").write_text(yaml.safe_dump(board, sort_keys=False))
    code = leaderboard.main(["--config", str(OUTPUT / "board.yaml"), "--output", str(OUTPUT)])
    print((OUTPUT / "leaderboard.md").read_text())
    say("No image is tissue: the order of the models says nothing about pathology.")
    return code
