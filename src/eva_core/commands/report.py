"""`eva report`: the page of a finished result, made again."""

from pathlib import Path

from eva_core.config.argparser import Parser
from eva_core.errors import EvaError
from eva_core.results.record import AGAIN, RESULTS, read_whole_result


def main(argv: list[str]) -> int:
    """Run `eva report`."""
    parser = Parser(
        prog="eva report",
        description="Make report.html of a finished result again, and print where it is. Embeddings are shown where "
        "the cache still has them, and images where those of the dataset are here and the same; else the page says so.",
    )
    parser.add_argument("result", type=Path, help="a folder that `eva fit` wrote")
    given = parser.parse_args(argv)
    results = read_whole_result(given.result)
    from eva_core.reports.page import write_report

    try:
        print(write_report(given.result, results))
    except (KeyError, TypeError, AttributeError, IndexError) as error:  # another program wrote it, or another version
        file = given.result / RESULTS
        raise EvaError(f"{file} lacks what a report shows ({type(error).__name__}: {error}). {AGAIN}") from error
    return 0
