"""`eva curve`: what models score when their heads learn from 1, 2, 5, ... 100 % of train."""

from pathlib import Path
from typing import TYPE_CHECKING

from eva_core.config.argparser import Parser
from eva_core.errors import UsageError
from eva_core.shown import visible

if TYPE_CHECKING:
    from eva_core.curves.schema import Curve

CURVE, PLOT, PAGE = "curve.json", "curve.png", "curve.html"


def main(argv: list[str]) -> int:
    """Run `eva curve`."""
    parser = Parser(
        prog="eva curve",
        description="Fit the head of a protocol to shares of train, whole patients or slides, a smaller share within "
        "each larger one, and plot the score of each model with intervals over patients, draws and runs. Flags of "
        "`eva fit`, such as --config, --dataset.root, --protocol, --head and --device, say what is fitted; embeddings "
        "are extracted once. A stopped curve goes on where it was.",
    )
    parser.add_argument("--models", help="names of models, with commas; or --model NAME with its arguments")
    parser.add_argument("--shares", default="1,2,5,10,20,50,100", help="percent of train, with commas: %(default)s")
    parser.add_argument("--draws", type=int, default=5, help="how often each share is drawn: %(default)s")
    parser.add_argument("--output", default="out/curve", help="folder for curve.html, curve.json and the points")
    given, words = parser.parse_known_args(argv)
    from eva_core.commands.predict import jobs_of_models
    from eva_core.curves.curve import Plan, curve

    plan = Plan(_shares(given.shares), given.draws, Path(given.output))
    content = curve(jobs_of_models("fit", given.models, words), plan)
    print(visible(write(content, plan.output)))
    return 0


def write(content: "Curve", output: Path) -> Path:
    """Write the plot, the page, and last curve.json; print the table; returns the page."""
    from eva_core.curves.page import write_page
    from eva_core.curves.plot import draw
    from eva_core.curves.table import show
    from eva_core.files.sealed_records import write_record
    from eva_core.results.record import without_nan

    page = write_page(content, draw(content, output / PLOT), output / PAGE)
    write_record(output / CURVE, without_nan(content))
    show(content)
    return page


def _shares(text: str) -> list[float]:
    """Percent with commas, as shares, ascending, each once."""
    try:
        return sorted({float(word) / 100 for word in text.split(",") if word.strip()})
    except ValueError as error:
        raise UsageError(f"Expected --shares as percent with commas, such as 1,10,100, but got {text}.") from error
