"""`eva predict`: embeddings only; with `--head RESULT`, the heads of a finished result on other images.

The configuration of that result is read as data; see `eva_core.config.result_config`.
"""

from pathlib import Path

from eva_core.api import MADE_FROM_PYTHON, apply_job, extract_job
from eva_core.config.jobs import with_head
from eva_core.config.parser import parse
from eva_core.errors import UsageError
from eva_core.results.record import CONFIG, read_result_file


def main(argv: list[str]) -> int:
    """Run `eva predict`."""
    argv, result = _without_head(argv)
    if result is None:
        print(extract_job(parse("predict", argv)))
        return 0
    if read_result_file(result, CONFIG).startswith(MADE_FROM_PYTHON.encode()):
        raise UsageError(
            f"Expected a result that `eva fit` made, but {result} was made from Python objects, whose arguments nobody "
            "wrote down. Apply its heads with eva_core.api.apply_heads."
        )
    job = parse("predict", ["--config", str(result / CONFIG), *argv])
    print(apply_job(result, job if job.head else with_head(job)))
    return 0


def _without_head(argv: list[str]) -> tuple[list[str], Path | None]:
    """Take `--head RESULT` out: here it is a folder, whose configuration comes before all other flags."""
    for position, word in enumerate(argv):
        if word.startswith("--head="):
            return argv[:position] + argv[position + 1 :], Path(word.removeprefix("--head="))
        if word == "--head":
            if position + 1 == len(argv):
                raise UsageError("Expected the folder of a finished result after --head.")
            return argv[:position] + argv[position + 2 :], Path(argv[position + 1])
    return argv, None
