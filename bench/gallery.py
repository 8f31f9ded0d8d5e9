"""The pictures of docs/gallery.md, made by the commands that the page shows: `python bench/gallery.py`.

Everything is drawn from synthetic slides and nuclei, and from the real slide that comes with eva. A picture is at most
150 kB, all of them 1 MB.
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from eva_vision.slides.example_slide import EXAMPLE_SLIDE
from eva_vision.synthetic.slides import write_phantom_slide

HOME = Path(__file__).parents[1]
LARGEST = 150_000
"""Bytes of a picture."""
PAGE = HOME / "docs/gallery.md"


def main() -> None:
    """Make the pictures, in docs/images unless another folder is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HOME / "docs/images", help="folder of the pictures")
    given = parser.parse_args()
    output = given.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        slides(output)
        pages(output)
        pretraining(output)
        masks(output)
    sizes = {path.name: path.stat().st_size for path in sorted(output.iterdir())}
    for name, size in sizes.items():
        print(f"{size:>9,} {name}")
    if sum(sizes.values()) > 1_000_000:
        sys.exit(f"Expected at most 1 MB of pictures, but got {sum(sizes.values()):,} bytes.")


def slides(output: Path) -> None:
    """Tissue and patches of a synthetic and of a real slide."""
    write_phantom_slide(Path("synthetic.svs"), 4096, 3072, seed=0)
    for name, path in {"slide-synthetic": Path("synthetic.svs"), "slide-cmu-1": EXAMPLE_SLIDE}.items():
        eva("slides", "show", str(path), "--output", f"{name}.png")
        keep(Path(f"{name}.png"), output / f"{name}.jpg")


def masks(output: Path) -> None:
    """Overlays of predicted masks: the best and the worst image."""
    fit = "fit --config phantom_nuclei --model random_vits16 --model.depth 2 --head linear_seg --output masks"
    eva(*fit.split(), "--protocol.segmentation.steps", "200", "--protocol.runs", "1")
    for name in ("best", "worst"):
        keep(Path(f"masks/overlays/{name}.png"), output / f"overlay-{name}.jpg")


def pretraining(output: Path) -> None:
    """Save what a network sees."""
    eva("pretrain", "--config", "demo", "--slides", "synthetic.svs", "--steps", "2", "--output", "run")
    keep(Path("run/crops.png"), output / "crops.jpg")


def pages(output: Path) -> None:
    """A board, and the report of one of its scores, as Chromium shows them."""
    board = re.search(r'```yaml title="board.yaml"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert board is not None
    Path("board.yaml").write_text(board[1])
    eva("leaderboard", "--config", "board.yaml", "--output", "board")
    shot(Path("board/leaderboard.html"), output / "board.jpg", 800)
    (report,) = Path("board").glob("*/random_vits16-*/knn/report.html")
    shot(report, output / "report.jpg", 1390)


def shot(page: Path, target: Path, height: int) -> None:
    """Take a picture of the top of a page; nothing where there is no Chromium."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print(f"no Chromium: {target.name} is left as it is", file=sys.stderr)
        return
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size=1200,{height}"]
    subprocess.run([browser, *flags, "--screenshot=shot.png", page.resolve().as_uri()], check=True, capture_output=True)
    keep(Path("shot.png"), target)


def keep(picture: Path, target: Path, side: int = 1200) -> None:
    """Save a picture as JPEG of at most `LARGEST` bytes, smaller where that is needed."""
    image = Image.open(picture).convert("RGB")
    for scale in (1.0, 0.8, 0.65, 0.5):
        small = image.copy()
        small.thumbnail((int(side * scale), int(2 * side * scale)), Image.Resampling.LANCZOS)
        for quality in (85, 75, 65):
            data = io.BytesIO()
            small.save(data, "JPEG", quality=quality, optimize=True)
            if data.tell() <= LARGEST:
                target.write_bytes(data.getvalue())
                return
    sys.exit(f"Expected {target.name} to fit into {LARGEST:,} bytes.")


def eva(*words: str) -> None:
    """Run a command."""
    print("eva", *words, flush=True)
    subprocess.run([sys.executable, "-m", "eva_core.cli", *words], check=True)


if __name__ == "__main__":
    main()
