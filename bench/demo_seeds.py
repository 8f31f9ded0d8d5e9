"""Does `eva demo` show learning whatever the seed? All of it under several seeds: scores with intervals, and seconds.

A seed decides the slides, the weights, the training and the patches of the task. Learning shows where the interval of
the trained network lies above those of the same network with random weights and of colour. Seeds that are in the output
are not run again.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

from eva_core.results.record import read_results
from eva_pretrain.run.demo import COLOUR, RANDOM, TRAINED, finished

CALL = """import sys
from pathlib import Path
from eva_pretrain.run.demo import run
run(Path(sys.argv[1]), int(sys.argv[2]))"""


def scores(folder: Path) -> dict[str, tuple[float, float, float]]:
    """Score, lower and upper bound of each model of a finished demo."""
    mains = {name: read_results(result)["main"] for name, result in finished(folder).items()}
    return {name: (main["mean"], *main["ci95"]) for name, main in mains.items()}


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """Run the demo in a process of its own."""
    before, began = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", CALL, str(folder), str(seed)], check=True, stdout=sys.stderr)
    after = getrusage(RUSAGE_CHILDREN)
    found = scores(folder)
    return {
        "seed": seed,
        **found,
        "shows_learning": found[TRAINED][1] > max(found[RANDOM][2], found[COLOUR][2]),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime),
        "wall_s": round(time.perf_counter() - began),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--output", type=Path, default=Path("out/demo_seeds"), help="kept: the command goes on there")
    given = parser.parse_args()
    runs = []
    for seed in range(given.seeds):
        file = given.output / f"{seed}.json"
        if not file.exists():
            measured = measure(given.output / str(seed), seed)
            file.write_text(json.dumps(measured))
        runs.append(json.loads(file.read_text()))
        print(runs[-1], file=sys.stderr, flush=True)
    print(json.dumps({"shows_learning": sum(run["shows_learning"] for run in runs), "runs": runs}, indent=2))
