"""Files of a run with a line for each step: written as it goes, and cut back to the checkpoint where it resumes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eva_core.files.atomic_files import unlinked, write_bytes
from eva_core.files.checked_lines import checked_line, fields_of

LOG, MEASURES = "log.jsonl", "monitor.jsonl"
"""Files of a run: losses, schedules and speed of each step that is logged; and what the monitor measured."""
CROPS, PICTURE = "crops.png", "pca-{}.png"
"""Pictures of a run: its crops, and the patch tokens at a step."""


def read_lines(file: Path, tell: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """Read the lines of a file of `append_line`, without those that are damaged.

    Args:
        file: The file; without it, there are no lines.
        tell: Receives a message where lines are left out.
    """
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    whole = [fields for line in lines if (fields := fields_of(line)[0]) is not None]
    if len(whole) < len(lines) and tell is not None:
        tell(f"{len(lines) - len(whole)} of {len(lines)} lines of {file} are damaged, and left out.")
    return whole


def append_line(file: Path, fields: dict[str, Any]) -> None:
    """Append a line to a file, on a line of its own also after one that a kill has cut."""
    with open(file, "ab+", opener=unlinked) as handle:
        if handle.tell():
            handle.seek(-1, os.SEEK_END)
            if handle.read() != b"\n":
                handle.write(b"\n")
        handle.write(checked_line(fields)[0])


def drop_lines(file: Path, dropped: Callable[[int], bool]) -> int:
    """Drop the lines of some steps: those beyond the checkpoint that a run resumes from are written again.

    Args:
        file: The file; without it, nothing happens.
        dropped: Whether the lines of a step go.

    Returns:
        The last step of the file before; -1 without a line.
    """
    lines = read_lines(file)
    stay = [line for line in lines if not dropped(line["step"])]
    if len(stay) < len(lines):
        write_bytes(file, b"".join(checked_line(line)[0] for line in stay))
    return max((line["step"] for line in lines), default=-1)
