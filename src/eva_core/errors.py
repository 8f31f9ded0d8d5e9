"""Errors that end as one line on stderr: what was expected, what came, what to do next."""


class EvaError(Exception):
    """A failed job. Exit code 1."""

    exit_code = 1


class UsageError(EvaError):
    """A wrong command, name, config or dataset description. Exit code 2."""

    exit_code = 2
