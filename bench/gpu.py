"""`make gpu`: correctness and speed on one GPU, in under eight minutes, also without an install or a network.

Stages run in order of importance, each in a process of its own with a time limit, and write their results after each
row: a stage that hangs or fails does not affect the others. The table comes last, and is kept as `gpu.md` beside the
JSON.

    python bench/gpu.py --output out/gpu            # from the tree, without an install
    python bench/gpu.py --dry                       # everything on a CPU, with tiny networks
    python bench/gpu.py --needs pip_list.txt        # packages that a machine lacks, by its pip list
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from from_tree import python_path  # beside this file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # for deterministic algorithms; has to be there at the start

from gpu_stages import STAGES

DRY_LIMIT_S = 200
CARD = "cuda"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out/gpu"), help="folder of JSON, logs and the table")
    parser.add_argument("--stages", default=",".join(STAGES), help="some of %(default)s")
    parser.add_argument("--dry", action="store_true", help="on the CPU, with tiny networks: nothing is measured")
    parser.add_argument(
        "--needs",
        type=Path,
        metavar="FILE",
        help="output of `pip list`; print what is missing",
    )
    parser.add_argument("--table", action="store_true", help="print the table of an --output again")
    parser.add_argument("--stage", help=argparse.SUPPRESS)  # for the processes of the stages
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Run the stages of the command line; return 1 where a row failed or is wrong."""
    given = parse()
    if given.needs:
        from needs import main as needs

        return needs(given.needs)
    if given.stage:
        return one_stage(given)
    stages = [letter for letter in given.stages.split(",") if letter]
    if unknown := [letter for letter in stages if letter not in STAGES]:
        sys.exit(f"Expected --stages to be some of {','.join(STAGES)}, but got {','.join(unknown)}.")
    if not given.table:
        measure(given, stages)
    return table(given.output, stages)


def measure(given: argparse.Namespace, stages: list[str]) -> None:
    """Make the data, then run each stage in its process."""
    given.output.mkdir(parents=True, exist_ok=True)
    for letter in stages:
        (given.output / f"{letter}.json").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="eva-gpu-") as folder:
        environment = {
            **os.environ,
            "PYTHONPATH": python_path(Path(folder) / "metadata"),
            "EVA_CACHE": f"{folder}/cache",
        }
        from gpu_stages import data

        data.make(Path(folder), *((4, 1024) if given.dry else (256, 8192)))
        with ThreadPoolExecutor(2 if given.dry else 1) as pool:  # a measurement runs alone
            list(pool.map(lambda letter: start(letter, given, Path(folder), environment), stages))


def start(letter: str, given: argparse.Namespace, folder: Path, environment: dict[str, str]) -> None:
    """Run a stage to its end or its time limit, and record what stopped it."""
    began = time.perf_counter()
    limit = DRY_LIMIT_S if given.dry else STAGES[letter].limit_s
    argv = [sys.executable, __file__, "--stage", letter, "--output", str(given.output), "--data", str(folder)]
    with (given.output / f"{letter}.log").open("w") as log:
        process = subprocess.Popen(
            [*argv, *(["--dry"] if given.dry else [])],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its workers end with it
        )
        try:
            code = process.wait(limit)
            stopped = f"exit code {code}; {last_line(given.output / f'{letter}.log')}" if code else None
        except subprocess.TimeoutExpired:
            stopped = f"its {limit} s were over"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if stopped:
        file = given.output / f"{letter}.json"
        results = json.loads(file.read_text()) if file.is_file() else {"stage": letter, "rows": {}}
        file.write_text(json.dumps({**results, "stopped": stopped}, indent=1))
    took = time.perf_counter() - began
    print(f"({letter}) {STAGES[letter].module}: {took:.0f} s of {limit} s", file=sys.stderr, flush=True)


def last_line(log: Path) -> str:
    """Find the last line of a log."""
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip()[:160] for line in reversed(lines) if line.strip()), "it said nothing")


def one_stage(given: argparse.Namespace) -> int:
    """Run one stage in this process."""
    import torch
    from gpu_stages.stage import Bench, run
    from gpu_stages.table import stage_module

    if not given.dry and not torch.cuda.is_available():
        print("Expected a GPU, but torch sees none. Try it with tiny networks: --dry.")
        return 1
    scratch = given.data / f"scratch-{given.stage}"
    scratch.mkdir(exist_ok=True)
    bench = Bench(torch.device("cpu" if given.dry else CARD, None if given.dry else 0), given.data, scratch, given.dry)
    run(given.stage, stage_module(given.stage), bench, given.output / f"{given.stage}.json")
    return 0


def table(output: Path, stages: list[str]) -> int:
    """Print and keep the table; return 1 where a row failed or is wrong."""
    from gpu_stages.table import markdown

    text = markdown(output)
    (output / "gpu.md").write_text(text, encoding="utf-8")
    print(text, end="")
    files = [output / f"{letter}.json" for letter in stages]
    results = [json.loads(file.read_text()) for file in files if file.is_file()]
    rows = [row for stage in results for row in stage["rows"].values()]
    wrong = len(results) < len(stages) or any("stopped" in stage for stage in results)
    return int(wrong or any("failed" in row or row.get("ok") is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
