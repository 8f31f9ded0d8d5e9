"""`eva demo`: from synthetic slides to a small DINOv2, and on a page whether it learned, and real tissue."""

import shutil
import time
from pathlib import Path

import yaml

from eva_core.commands import leaderboard
from eva_core.errors import UsageError
from eva_core.progress import Bar, say
from eva_core.results.record import RESULTS, read_results
from eva_pretrain.run.browser import open_page
from eva_pretrain.run.config import parse
from eva_pretrain.run.demo_page import Scored, Shown, Unseen, write_page
from eva_pretrain.run.demo_pictures import as_uri, patients, pattern_maps, real_tissue, thumbnail
from eva_pretrain.run.pretrain import export_initial_weights, pretrain
from eva_vision.datasets.phantom_patterns import PhantomPatterns
from eva_vision.models.exported import read_card, read_seen
from eva_vision.slides.example_slide import EXAMPLE_SLIDE
from eva_vision.synthetic.slides import write_pattern_slide

OUTPUT = Path("out/demo")
PAGE = "index.html"
SLIDES = 6
UNSEEN = 2
"""Slides that nobody trains on, for the page."""
TRAINED, RANDOM, COLOUR = "pretrained_here", "same_with_random_weights", "colour_stats"
TASK = "phantom_patterns"
TEST = 1000
"""Images that are scored: fewer give intervals too wide to tell the networks apart."""
_FIRST_UNSEEN = 10**6  # beyond what any seed trains on


def main(argv: list[str]) -> int:
    """Draw synthetic slides, train on them, evaluate, and show it; all files stay in out/demo."""
    began = time.perf_counter()
    if argv in (["-h"], ["--help"]):
        print("usage: eva demo\n\nSynthetic slides -> a small DINOv2 -> its score; real tissue. All in out/demo.")
        return 0
    if argv:
        raise UsageError(f"Expected `eva demo` alone, but got {' '.join(argv)!r}.")
    code = run(OUTPUT)
    print((OUTPUT / "leaderboard.md").read_text())
    say("No image of the task is tissue: the order of the models says nothing about pathology.")
    page = OUTPUT / "leaderboard.html"
    if len(results := finished(OUTPUT)) == len((TRAINED, RANDOM, COLOUR)):
        page = show(OUTPUT, results, began)
    open_page(page)
    return code


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
        "tasks": [{"name": TASK, "config": TASK, "init_args": {"seed": seed, "test": TEST}}],
    }
    (output / "board.yaml").write_text(yaml.safe_dump(board, sort_keys=False))
    return leaderboard.main(["--config", str(output / "board.yaml"), "--output", str(output)])


def finished(output: Path) -> dict[str, Path]:
    """Folders of the results of a demo, by name of the model, as far as they are there."""
    folders = sorted(file.parent for file in output.glob(f"{TASK}/*/*/{RESULTS}"))
    named = {name: [f for f in folders if f.parent.name.startswith(name)] for name in (TRAINED, RANDOM, COLOUR)}
    return {name: found[0] for name, found in named.items() if found}


def show(output: Path, results: dict[str, Path], began: float, seed: int = 0) -> Path:
    """Write the page of a finished demo.

    Args:
        output: Its folder.
        results: Folder of the result of each model.
        began: When the demo began, by `time.perf_counter`.
        seed: Its seed.
    Returns:
        The page.
    """
    with Bar("Making the page", UNSEEN, "slides") as bar:
        exports = [output / name / "export" for name in ("pretrain", "start")]
        models = list(zip(exports, (results[TRAINED], results[RANDOM]), strict=True))
        unseen = []
        for number in range(_FIRST_UNSEEN + seed * UNSEEN, _FIRST_UNSEEN + (seed + 1) * UNSEEN):
            slide = write_pattern_slide(output / "unseen" / f"phantom_{number}.svs", seed=number)
            unseen.append(Unseen(thumbnail(slide), *pattern_maps(slide, number, models)))
            bar.advance(1)
        real = output / "real" / EXAMPLE_SLIDE.name
        shutil.copytree(EXAMPLE_SLIDE.parent, real.parent, dirs_exist_ok=True)  # its licence beside it
        tissue, patches = real_tissue(real, mpp=0.5, count=12)
    minutes, seconds = divmod(round(time.perf_counter() - began), 60)
    words = {TRAINED: "Pretrained here", RANDOM: "The same, random weights", COLOUR: "Six colour numbers"}
    return write_page(
        output / PAGE,
        Shown(
            about=f"seed {seed} · made here in {minutes} min {seconds} s",
            steps=read_card(exports[0])["step"],
            slides=len(read_seen(exports[0])),
            models=[Scored(words[name], results[name], read_results(results[name])) for name in words],
            training=thumbnail(output / "slides" / "phantom_0.svs"),
            patients=patients(PhantomPatterns(seed=seed), 3),
            unseen=unseen,
            tissue=as_uri(tissue),
            real=patches,
            slide=real.relative_to(output),
        ),
    )
