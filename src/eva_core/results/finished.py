"""The result that a folder holds, where it is the one that is asked for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eva_core.contracts.results import Identity, Results
from eva_core.errors import UsageError
from eva_core.files.checksums import Damaged
from eva_core.results import record


def finished(
    folder: Path,
    key: str,
    identity: Identity,
    settings: dict[str, Any],
    tell: Callable[[str], None] | None = None,
) -> Results | None:
    """The result that was asked for, where it is there and whole.

    Args:
        folder: That of the result.
        key: Hash of all that decides the result.
        identity: Whose score is asked for.
        settings: What decides it besides, as results.json holds it.
        tell: Receives the reason where the result is not whole.
    Raises:
        UsageError: The folder holds another result.
    """
    if not (folder / record.RESULTS).exists():
        return None
    try:
        results = record.read_results(folder)
        if results["key"] == key:
            return record.read_whole_result(folder)
    except Damaged as error:
        if tell is not None:
            tell(f"{str(error).removesuffix(record.AGAIN)}The result is made again.")
        return None
    there, asked_for = _differing({**results["identity"], **results.get("settings", {})}, {**identity, **settings})
    raise UsageError(
        f"{folder} holds another result (key {results['key'][:12]}{there}), "
        f"not the one asked for (key {key[:12]}{asked_for}). Choose another --output."
    )


def _differing(first_fields: dict[str, Any], second_fields: dict[str, Any], of: str = "") -> tuple[str, str]:
    """The fields in which two differ, with the values of each; what one leaves out is the default."""
    first = second = ""
    for name in {**first_fields, **second_fields}:
        first_value, second_value = first_fields.get(name, "default"), second_fields.get(name, "default")
        if first_value == second_value:
            continue
        if isinstance(first_value, dict) and isinstance(second_value, dict):
            a, b = _differing(first_value, second_value, f"{of}{name}.")
        else:
            a, b = (f", {of}{name} {_short(value)}" for value in (first_value, second_value))
        first, second = first + a, second + b
    return first, second


def _short(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:40]
