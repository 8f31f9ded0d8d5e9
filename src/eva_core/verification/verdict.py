"""What was found of a result that was checked: what holds, what does not, and what could not be looked at."""

from dataclasses import dataclass, field
from pathlib import Path

_MOST = 20
"""Lines of one kind that are shown: swapped predictions change every number."""


@dataclass
class Verdict:
    """What holds of a result.

    Attributes:
        folder: The folder of the result.
        holds: What was checked and is so, in a few words each.
        wrong: What is not so, with what was expected and what was found, a line each.
        unchecked: What could not be checked here, and why, a line each.
    """

    folder: Path
    holds: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 where something is wrong, 2 where something could not be checked, else 0."""
        return 1 if self.wrong else 2 if self.unchecked else 0

    def line(self) -> str:
        """What holds, in one line."""
        state = "wrong" if self.wrong else "in part not checked" if self.unchecked else "verified"
        what = "; ".join(self.holds) or "nothing holds"
        return f"{self.folder}: {state}: {what}."

    def lines(self) -> list[str]:
        """A line for each thing that does not hold or was not looked at."""
        more = [f"... and {len(self.wrong) - _MOST} more."] if len(self.wrong) > _MOST else []
        return [*self.wrong[:_MOST], *more, *(f"not checked: {line}" for line in self.unchecked)]
