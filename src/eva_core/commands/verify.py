"""`eva verify`: every number of a finished result made again, and all that it states compared with what is here."""

import sys
from pathlib import Path

from eva_core.config.argparser import Parser
from eva_core.shown import visible


def main(argv: list[str]) -> int:
    """Run `eva verify`: 1 where something is wrong, 2 where something could not be checked."""
    parser = Parser(
        prog="eva verify",
        description="Make every number of a finished result again from its predictions, and compare it, its files, its "
        "data, its weights and its settings with what it states. Says in one line what holds, and in one line each "
        "what does not. Exit status: 1 where something is wrong, 2 where something could not be checked here.",
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULT", help="a folder that `eva fit` wrote")
    parser.add_argument(
        "--heads", action="store_true", help="the predictions too, from the stored embeddings and the heads"
    )
    given = parser.parse_args(argv)
    from eva_core.verification.verify import verify

    codes = []
    for folder in given.results:
        verdict = verify(folder, heads=given.heads)
        print(visible(verdict.line()))
        for line in verdict.lines():
            print(visible(f"eva: {folder}: {line}"), file=sys.stderr)
        codes.append(verdict.exit_code)
    return 1 if 1 in codes else max(codes)
