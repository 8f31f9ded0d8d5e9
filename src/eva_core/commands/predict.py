"""`eva predict`: embeddings only, of one model or by `--models A,B,C` of several; with `--head RESULT`, finished heads.

The configuration of that result is read as data; see `eva_core.config.result_config`.
"""

from pathlib import Path

from eva_core.api import MADE_FROM_PYTHON, apply_job, extract_job, extract_jobs
from eva_core.config.jobs import job_of, with_head
from eva_core.config.parser import parse
from eva_core.errors import UsageError
from eva_core.job import Job
from eva_core.results.record import CONFIG, read_result_file


def main(argv: list[str]) -> int:
    """Run `eva predict`."""
    argv, given = _taken(argv, "--head", "the folder of a finished result")
    if given is None:
        jobs = jobs_of(argv)
        for path in [extract_job(jobs[0])] if len(jobs) == 1 else extract_jobs(jobs):
            print(path)
        return 0
    result = Path(given)
    job = job_of_result(result, argv)
    print(apply_job(result, job))
    return 0


def job_of_result(result: Path, argv: list[str]) -> Job:
    """What the configuration of a finished result asks for, with words of the command line after it.

    Raises:
        UsageError: It was made from Python objects, or is no result.
    """
    if read_result_file(result, CONFIG).startswith(MADE_FROM_PYTHON.encode()):
        raise UsageError(
            f"Expected a result that `eva fit` made, but {result} was made from Python objects, whose arguments nobody "
            "wrote down. Apply its heads with eva_core.api.apply_heads."
        )
    job = parse("predict", ["--config", str(result / CONFIG), *argv])
    return job if job.head else with_head(job)


def jobs_of(argv: list[str]) -> list[Job]:
    """What a command line asks for, a job for each model: of `--model NAME` with its arguments, or `--models A,B,C`.

    Raises:
        UsageError: Both are given, or what is asked for cannot be built.
    """
    argv, models = _taken(argv, "--models", "names of models, with commas")
    return jobs_of_models("predict", models, argv)


def jobs_of_models(command: str, models: str | None, words: list[str]) -> list[Job]:
    """What `eva fit` or `eva predict` would be asked for, a job for each model.

    Args:
        command: `fit` or `predict`.
        models: Their names, with commas; None: the words name one.
        words: The other words of the command line.
    Raises:
        UsageError: Both are given, or what is asked for cannot be built.
    """
    if models is None:
        return [parse(command, words)]
    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names or any(word.partition("=")[0] == "--model" for word in words):
        raise UsageError("Expected either --model NAME with its arguments, or --models A,B,C, but not both.")
    first, trains = parse(command, ["--model", names[0], *words]), command == "fit"
    head = first.head if trains else None
    others = [job_of(name, first.dataset, head, first.protocol, first.how, trains=trains) for name in names[1:]]
    return [first, *others]


def _taken(argv: list[str], flag: str, what: str) -> tuple[list[str], str | None]:
    """Take a flag with its value out of the words: the parser of `fit` and `predict` does not know it so."""
    for position, word in enumerate(argv):
        if word.startswith(f"{flag}="):
            return argv[:position] + argv[position + 1 :], word.removeprefix(f"{flag}=")
        if word == flag:
            if position + 1 == len(argv):
                raise UsageError(f"Expected {what} after {flag}.")
            return argv[:position] + argv[position + 2 :], argv[position + 1]
    return argv, None
