"""Patterns of paths, such as `/data/**/*.svs`: the same for files and for keys of a bucket."""

import re
import unicodedata
from fnmatch import fnmatchcase
from functools import lru_cache

from eva_core.files.walk import ordinary

ANY_DEPTH = "**"
_WILD = re.compile(r"[*?[]")
_ENDING = re.compile(r"\.[A-Za-z0-9]+$")


def is_pattern(text: str) -> bool:
    """Whether a text has wildcards."""
    return bool(_WILD.search(text))


def parted(pattern: str) -> tuple[str, str]:
    """The fixed part of a pattern, which ends before the first folder or name with wildcards, and the rest."""
    parts = pattern.split("/")
    fixed = next((n for n, part in enumerate(parts) if is_pattern(part)), len(parts) - 1)
    return "/".join(parts[:fixed]) or "/" * pattern.startswith("/"), "/".join(parts[fixed:])


class Pattern:
    """A pattern of paths: `*`, `?` and `[a-z]` within a name, `**` for folders of any depth.

    A name with brackets also stands for itself. Wildcards leave out hidden files, and those that systems leave. The
    ending is matched in either case: `*.svs` finds `X.SVS`.

    Examples:
        >>> pattern = Pattern("**/case_?.svs")
        >>> [pattern.matches(path) for path in ("case_1.svs", "a/b/case_2.SVS", "a/case_10.svs")]
        [True, True, False]
    """

    def __init__(self, pattern: str) -> None:
        self._parts = [_composed(part) for part in pattern.split("/")]
        if self._parts[-1] == ANY_DEPTH:
            self._parts.append("*")
        self._states = lru_cache(2**12)(self._states_of)  # of folders, which come once for each file in them

    def matches(self, path: str) -> bool:
        """Whether a file by this path is meant."""
        return len(self._parts) in self._step(path)

    def leads(self, path: str) -> bool:
        """Whether files below a folder by this path may be meant."""
        return any(state < len(self._parts) for state in self._step(path))

    def _step(self, path: str) -> frozenset[int]:
        folder, _, name = path.rpartition("/")
        return self._after(self._states(folder) if folder else self._skipped({0}), _composed(name))

    def _states_of(self, folder: str) -> frozenset[int]:
        """How many parts of the pattern a folder may have used up."""
        return self._step(folder)

    def _after(self, states: frozenset[int], name: str) -> frozenset[int]:
        reached = set()
        for state in states:
            if state == len(self._parts):
                continue
            part = self._parts[state]
            if part == ANY_DEPTH:
                reached |= {state} if ordinary(name) else set()
            elif _fits(name, part, last=state == len(self._parts) - 1):
                reached.add(state + 1)
        return self._skipped(reached)

    def _skipped(self, states: set[int]) -> frozenset[int]:
        """Add the states after `**`, which stands for no folder too."""
        for state in sorted(states):
            while state < len(self._parts) and self._parts[state] == ANY_DEPTH:
                state += 1
                states = states | {state}
        return frozenset(states)


def _fits(name: str, part: str, last: bool) -> bool:
    if name == part:
        return True
    if not ordinary(name) and not part.startswith("."):
        return False
    ending = _ENDING.search(part) if last else None
    if ending is None:
        return fnmatchcase(name, part)
    cut = len(name) - len(ending[0])
    return name[cut:].lower() == ending[0].lower() and fnmatchcase(name[:cut], part[: ending.start()])


def _composed(text: str) -> str:
    """Compose accents: names from a Mac have them as characters of their own."""
    return unicodedata.normalize("NFC", text)
