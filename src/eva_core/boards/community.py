"""Results of others on a board: taken where they verify, and shown beside what contradicts them."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from eva_core.boards.board import DEFAULT, Pair
from eva_core.boards.rows import Cell
from eva_core.boards.standings import Scoreboard
from eva_core.config.files import find_config, read_yaml
from eva_core.contracts.results import Results
from eva_core.errors import EvaError, UsageError
from eva_core.files.atomic_files import make_folder
from eva_core.files.file_names import as_name, below
from eva_core.hub.weight_files import HUB, hub_file
from eva_core.results.record import RESULTS, read_whole_result
from eva_core.verification.numbers import TOLERANCE
from eva_core.verification.verify import verify

COMMUNITY = "community"


class _NotTaken(Exception):
    """Why a result is not shown."""


def merge(scores: Scoreboard, sources: Sequence[str]) -> list[str]:
    """Add the results of others to a board, copies of which come below its folder; their reports stay out.

    Args:
        scores: The board; learns of conflicts too.
        sources: Folders with results anywhere below, or datasets of the hub as `hf-hub:owner/name[@revision]`.
    Returns:
        A line for each result that was not taken.
    Raises:
        UsageError: A folder is not there, or has no result.
        EvaError: The hub does not answer.
    """
    lines = []
    for source in sources:
        root = folder_of(source)
        folders = sorted(path.parent for path in root.rglob(RESULTS))
        if not folders:
            raise UsageError(f"Expected finished results below {source}, but there is no {RESULTS}.")
        for folder in folders:
            try:
                _take(scores, folder, source if source.startswith(HUB) else root.resolve().name)
            except (_NotTaken, EvaError) as reason:
                lines.append(f"{folder}: not merged: {reason}")
    return lines


def folder_of(source: str) -> Path:
    """The folder of a source; that of the hub's cache for a dataset of the hub, which is fetched."""
    if not source.startswith(HUB):
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise UsageError(f"Expected a folder with results, or {HUB}owner/name, but {source} is not there.")
        return folder
    from huggingface_hub import snapshot_download

    asked = hub_file(source)
    try:
        return Path(snapshot_download(asked.repo, repo_type="dataset", revision=asked.revision))
    except Exception as error:  # the hub's client lets its HTTP library's errors through
        raise EvaError(f"Cannot get results of dataset {asked.repo} ({' '.join(str(error).split())[:120]}).") from error


def _take(scores: Scoreboard, folder: Path, source: str) -> None:
    """Add one result where it verifies and belongs to the board.

    Raises:
        _NotTaken: It does not.
    """
    results = read_whole_result(folder)
    verdict = verify(folder, sources=False)
    if verdict.exit_code:
        raise _NotTaken(verdict.lines()[0])
    identity, task = results["identity"], _task(scores, results)
    here = scores.cells(task)
    model, head = identity["model"], _head(scores, identity["head"])
    known, main = here.get((model, head)), results["main"]
    if known is not None and known.key == results["key"]:
        if not _same(known, results):
            scores.conflicts.append(
                f"{model} on {task}, {identity['head']}: {known.value} {_bounds(known.ci95)} here, "
                f"{main['mean']} {_bounds(main['ci95'])} in {source}, by the same key {known.key[:12]}."
            )
        return
    if known is not None:  # of other weights or settings under one name
        model = f"{model} ({as_name(source)})"
    scores.add(model, task, head, _copied(folder, results, scores.output, head), source)


def _task(scores: Scoreboard, results: Results) -> str:
    """The task of the board that a result belongs to."""
    identity, board = results["identity"], scores.board
    named = {pair.task for pair in scores.pairs if identity["dataset"] in (pair.task, _dataset(pair))}
    if not named:
        raise _NotTaken(f"the board has no task on {identity['dataset']}.")
    protocol = str(read_yaml(find_config(board.protocol, "protocols")).get("name", board.protocol))
    for task in sorted(named):
        cells = scores.cells(task).values()
        protocols, data = {cell.protocol for cell in cells}, {cell.dataset_sha256 for cell in cells}
        if identity["protocol"] not in (protocols or {protocol}):
            reason = f"its protocol is {identity['protocol']}, that of the board {', '.join(protocols) or protocol}."
        elif data and identity["dataset_sha256"] not in data:
            reason = f"it was made on other files of {identity['dataset']} than the rest of {task}."
        else:
            return task
    raise _NotTaken(reason)


def _dataset(pair: Pair) -> str:
    dataset = pair.config["dataset"]
    return str(dataset["class_path"] if isinstance(dataset, dict) else dataset)


def _head(scores: Scoreboard, name: str) -> str:
    names = [head.name for head in scores.board.heads]
    if names == [DEFAULT] or name in names:
        return name if name in names else DEFAULT
    raise _NotTaken(f"its head is {name}, those of the board are {', '.join(names)}.")


def _same(cell: Cell, results: Results) -> bool:
    main = results["main"]
    here, there = ([value, *(ci95 or ())] for value, ci95 in ((cell.value, cell.ci95), (main["mean"], main["ci95"])))
    return len(here) == len(there) and all(
        a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=0, abs_tol=TOLERANCE))
        for a, b in zip(here, there, strict=True)
    )


def _copied(folder: Path, results: Results, output: Path, head: str) -> Path:
    """A copy of a result below the folder of a board, of nothing but the files that it vouches for."""
    target = output / COMMUNITY / results["sha256"][:12] / as_name(head)
    for name in (RESULTS, *results["files"]):
        path = below(target, name)
        make_folder(path.parent)
        shutil.copyfile(below(folder, name), path)
    return target


def _bounds(ci95: Sequence[float] | None) -> str:
    return "" if ci95 is None else f"({ci95[0]:.3f} to {ci95[1]:.3f})"
