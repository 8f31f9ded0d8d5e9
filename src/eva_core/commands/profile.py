"""`eva profile`: one dataset at several magnifications, a curve for each model."""

import re
from pathlib import Path

from eva_core.config.argparser import Parser
from eva_core.config.result_config import TRUST
from eva_core.errors import UsageError


def main(argv: list[str]) -> int:
    """Run `eva profile`."""
    parser = Parser(
        prog="eva profile",
        description="Resample a dataset downwards from its native micrometres per pixel and evaluate at each step: "
        "profile.json and profile.png, one curve for each model, its training range shaded.",
    )
    parser.add_argument("--config", required=True, help="a task config, as for eva fit; its dataset must state its mpp")
    parser.add_argument(
        "--model", required=True, action="append", help="a registered name, or the folder of an export; repeatable"
    )
    parser.add_argument("--mpp", default="0.25..4", help="LOW..HIGH, doubling, or a list as 0.5,1,2")
    parser.add_argument("--protocol", help="that of the task config, else eva-0.4, unless given")
    parser.add_argument("--output", type=Path, default=Path("out/profile"))
    parser.add_argument(TRUST, action="store_true", help="take what a result's config names: only of people you know")
    given = parser.parse_args(argv)
    from eva_core.magnification import profile

    print(profile(given.config, given.model, steps(given.mpp), given.protocol, given.output, given.trust))
    return 0


def steps(text: str) -> list[float]:
    """`0.25..4` doubles from 0.25 up to 4; `0.5,1,2` is a list.

    Raises:
        UsageError: Neither of them, or not positive and ascending.
    """
    number = r"\d+(?:\.\d+)?"
    if ends := re.fullmatch(rf"({number})\.\.({number})", text):
        low, high = map(float, ends.groups())
        values = [low * 2**i for i in range(64) if low > 0 and low * 2**i <= high * (1 + 1e-9)]
    elif re.fullmatch(rf"{number}(,{number})*", text):
        values = [float(value) for value in text.split(",")]
    else:
        values = []
    if not values or values[0] <= 0 or values != sorted(set(values)):
        raise UsageError(f"Expected --mpp as LOW..HIGH or an ascending list, but got {text!r}.")
    return values
