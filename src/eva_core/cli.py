"""`eva`: finds the command, imports it only then, and turns every failure into one line and an exit code."""

import os
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from eva_core import interrupts, progress, registry
from eva_core.errors import EvaError, UsageError
from eva_core.files.atomic_files import FULL, not_written
from eva_core.shown import visible
from eva_core.stale_install import stale_line
from eva_core.terminal import home_expanded, write_what_can_be_written

SUMMARIES = {
    "fit": "extract embeddings, train heads, write a score",
    "predict": "extract embeddings only, or apply the heads of a finished result",
    "report": "the page of a finished result, made again",
    "verify": "make every number of a finished result again",
    "compare": "say whether finished results differ",
    "leaderboard": "many models on many tasks, as one page",
    "profile": "one dataset at several magnifications",
    "curve": "what models score with fewer labels",
    "shift": "what finished results decide when scanner, stain or focus change",
    "robustness": "how much embeddings tell of the site, beside the tissue",
    "import": "embeddings made by kaiko-eva, into a store",
    "models": "list models, or show the card of one",
    "datasets": "list datasets, or show the card of one",
    "heads": "list heads, or show one",
    "methods": "list methods of pretraining, or show one",
    "protocols": "list protocols, or show the fields of one",
    "tasks": "list kinds of task, or show one",
    "doctor": "versions, devices, cache, tokens, plugins",
    "completion": "print a completion script for bash or zsh",
    "demo": "a small model trained on synthetic slides, and its score",
    "slides": "index whole slides, or show one",
    "pretrain": "train a foundation model from slides or patches",
    "export": "a model from a run of pretrain, at any step that it keeps",
    "board": "score all snapshots of a run: its learning curve",
    "study": "train variants, and say which is better",
    "download": "weights and datasets, ahead of a machine without a network",
    "push": "an export of pretrain, or a score, to the Hugging Face hub",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 for a failed job, 2 for a wrong command or config; 130 for Ctrl-C, 143 for SIGTERM, 75 for SIGUSR1 and
        the end of a time limit.
    """
    if argv is None:
        _leave_the_folder_we_are_in()
    with interrupts.handled(whole_process=argv is None):
        try:
            return _answered(home_expanded(sys.argv[1:] if argv is None else argv))
        except KeyboardInterrupt as stop:
            return _stopped(stop)


def _leave_the_folder_we_are_in() -> None:
    """Take the current folder, which may be anybody's data, off the path: here, and in each Python that we start.

    `python -m` puts it first, and so does the `-c` by which processes are spawned. One that PYTHONPATH names stays.
    """
    with suppress(FileNotFoundError):  # the folder may be gone
        if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):
            del sys.path[0]
    os.environ["PYTHONSAFEPATH"] = "1"


def _answered(argv: list[str]) -> int:
    """Run one command; every failure is a line."""
    write_what_can_be_written()
    warnings.formatwarning = _warning
    try:
        argv, verbosity = _without_verbosity(argv)
        with progress.reported(verbosity):
            code = _dispatch(argv)
            _flush()
        return code
    except EvaError as error:
        interrupts.check()  # what fails after it follows from it
        _fail(str(error))
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        interrupts.check()
        if isinstance(error, OSError) and error.errno in FULL:
            _fail(str(not_written(Path(error.filename or "output"), error)))
            return 1
        _fail(f"{type(error).__name__}: {str(error).strip() or 'no message'} (EVA_DEBUG=1 shows where)")
        return 1


def _warning(message: object, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """A warning as one line, without the code that it came from."""
    del line
    place = f" ({category.__name__}, {filename}:{lineno})" if progress.is_verbose() else ""
    return f"eva: {_line(message)}{place}\n"


def _without_verbosity(argv: list[str]) -> tuple[list[str], progress.Verbosity | None]:
    """Take `--quiet` and `--verbose` out of the words of our commands; those of other packages have their own flags."""
    if not argv or argv[0] not in SUMMARIES:
        return argv, None
    quiet, verbose = "--quiet" in argv, "--verbose" in argv
    if quiet and verbose:
        raise UsageError("Expected --quiet or --verbose, but got both.")
    rest = [word for word in argv if word not in ("--quiet", "--verbose")]
    return rest, "quiet" if quiet else "verbose" if verbose else None


def _flush() -> None:
    """Write out what was printed, so that a full disk below it is seen while it can be said.

    Raises:
        EvaError: It could not be written.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python tries again at its end
        raise not_written(Path("output"), error) from error


def _stopped(stop: KeyboardInterrupt) -> int:
    interrupts.ignore()
    if not isinstance(stop, interrupts.Stopped):
        _fail("Stopped. Finished parts are kept: the same command goes on from there.")
        return interrupts.exit_code(interrupts.stopped_by() or signal.SIGINT)
    if str(stop):
        _fail(f"Stopped. {stop}")
    return stop.exit_code


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if argv[0] == "--version":
        print(f"eva {version('eva-pathology')}")
        return 0
    return registry.commands.load(argv[0])(argv[1:]) or 0


def _help() -> str:
    own = [e for e in registry.commands.entries() if e.name in SUMMARIES]
    others = [e for e in registry.commands.entries() if e.name not in SUMMARIES]
    own.sort(key=lambda e: list(SUMMARIES).index(e.name))
    rows = [(e.name, SUMMARIES[e.name]) for e in own] + [(e.name, f"from {e.origin}") for e in others]
    table = "\n".join(f"  {name:<12} {summary}" for name, summary in rows)
    return (
        "usage: eva COMMAND [...]\n\nEvaluate pathology foundation models.\n\n"
        f"{table}\n\n`eva COMMAND --help` tells more; `eva --version` the version. EVA_DEBUG=1 shows tracebacks.\n"
        f"{progress.HELP}"
    )


def _fail(message: str) -> None:
    if os.environ.get("EVA_DEBUG") == "1":
        print("\n".join(map(visible, traceback.format_exc().splitlines())), file=sys.stderr)
    print(f"eva: {_line(message)}", file=sys.stderr)
    if (stale := stale_line()) is not None:  # then what failed may follow from it
        print(f"eva: {_line(stale)}", file=sys.stderr)


def _line(message: object) -> str:
    """One line that is safe to show, whatever was in a name or in the answer of a server."""
    return visible(" ".join(str(message).split()))


if __name__ == "__main__":
    sys.exit(main())
