"""An argparse parser whose errors are one line like all others."""

import argparse
from typing import NoReturn

from eva_core.errors import UsageError


class Parser(argparse.ArgumentParser):
    """For commands that need no more than flags; `fit` and `predict` have jsonargparse."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}. See `{self.prog} --help`.")
