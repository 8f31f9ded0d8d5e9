"""Errors that end as one line on stderr: what was expected, what came, what to do next."""

from collections.abc import Iterable


class EvaError(Exception):
    """A failed job. Exit code 1."""

    exit_code = 1


class UsageError(EvaError):
    """A wrong command, name, config or dataset description. Exit code 2."""

    exit_code = 2


def some(names: Iterable[str], most: int = 5) -> str:
    """The first few names for a message, and how many more there are.

    Examples:
        >>> some(["a.png", "b.png", "c.png"], most=2)
        'a.png, b.png and 1 more'
    """
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def refuse(*checks: tuple[bool, str, object], where: str = "") -> None:
    """Raise for the first setting that is wrong.

    Args:
        checks: Whether a setting is wrong, what was expected, and what came; for each setting.
        where: Part of the settings, for the message.

    Raises:
        UsageError: Names what was expected and what came.
    """
    for wrong, what, got in checks:
        if wrong:
            raise UsageError(f"Expected {what}, but got {got}. Change it{f' in the {where}' if where else ''}.")
