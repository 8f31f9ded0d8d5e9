"""An argparse parser whose errors are one line like all others."""

import argparse
from typing import Any, NoReturn

from typing_extensions import override

from eva_core.errors import UsageError
from eva_core.progress import HELP


class Parser(argparse.ArgumentParser):
    """For commands that need no more than flags; `fit` and `predict` have jsonargparse."""

    def __init__(self, **options: Any) -> None:
        super().__init__(epilog=HELP, **options, allow_abbrev=False)

    @override
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}. See `{self.prog} --help`.")
