"""Until where the score of a result holds under changes, kept beside it: `eva shift` finds it, boards show it."""

from collections.abc import Mapping
from pathlib import Path

from eva_core.contracts.results import Results
from eva_core.files.sealed_records import read_record_or_nothing, write_record

HOLDS = "holds.json"
"""The file, in the folder of a result: made from the others, so that results.json does not vouch for it."""


def write_holds(folder: Path, results: Results, holds: Mapping[str, str]) -> None:
    """Keep until where a score holds; what earlier calls found of other changes stays.

    Args:
        folder: Folder of the result.
        results: Content of its results.json.
        holds: What is said of each change, by its name for people.
    Raises:
        EvaError: It cannot be written there.
    """
    every = {**read_holds(folder, results), **holds}
    write_record(folder / HOLDS, {"result_sha256": results["sha256"], "holds": every})


def read_holds(folder: Path, results: Results) -> dict[str, str]:
    """Until where a score holds, by change; empty where nobody asked, or the result was made anew since."""
    content = read_record_or_nothing(folder / HOLDS)
    holds = content.get("holds")
    if content.get("result_sha256") != results["sha256"] or not isinstance(holds, dict):
        return {}
    return {name: str(text) for name, text in holds.items()}
