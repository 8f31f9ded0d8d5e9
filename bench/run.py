"""`make bench`: run every benchmark, and print one JSON object."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DATA = Path(os.environ.get("EVA_TEST_DATA", HERE.parents[1] / "shared" / "data"))
PATCHES, MASKS = DATA / "crc_polyp5", DATA / "consep_patches"


def run(name: str, *argv: str) -> dict:
    """Run one benchmark, and parse the JSON that it prints."""
    done = subprocess.run([sys.executable, HERE / name, *argv], check=True, capture_output=True, text=True)
    return json.loads(done.stdout[done.stdout.index("{") :])


if __name__ == "__main__":
    results = {
        "start_up_s": run("start_up.py"),
        "head_training": run("head_training.py", *sys.argv[1:]),
        "abmil": run("abmil.py"),
        "memory": run("memory.py"),
        "board": run("board.py"),
    }
    for name, root in (("extraction", PATCHES), ("segmentation", MASKS)):
        results[name] = run(f"{name}.py", str(root)) if root.is_dir() else f"not run: no images at {root}"
    maker = HERE.parents[1] / "shared" / "tools" / "make_slide.py"
    results["slides"] = run("slides.py") if maker.exists() else f"not run: {maker} makes its slide"
    results["bags"] = run("bags.py")
    results["pretraining"] = run("pretraining.py")
    print(json.dumps(results, indent=2))
