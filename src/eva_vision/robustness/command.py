"""`eva robustness`: how much the embeddings of models tell of the site where a slide was made, beside the tissue."""

import json
from pathlib import Path

from eva_core.config.argparser import Parser
from eva_core.errors import EvaError, refuse
from eva_core.files.atomic_files import make_folder, write_text
from eva_vision.robustness.schema import Robustness

ROBUSTNESS = "robustness.json"


def main(argv: list[str]) -> int:
    """Run `eva robustness`."""
    given, words = _parser().parse_known_args(argv)
    refuse((given.apd < 0, "--apd of at least 0", given.apd))
    from eva_core.commands.predict import jobs_of
    from eva_vision.robustness.study import study

    print(write(study(jobs_of(words), given.leave_site_out, given.apd), Path(given.output)))
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="eva robustness",
        description="Measure of some models on one dataset whose images carry classes and sites whether neighbours "
        "share the class or the site: RI, MaRI and CRoMa with its lower tail, beside published values. Flags of "
        "`eva predict` say what is measured: --config NAME or --dataset NAME, --model NAME or --models A,B,C, "
        "--protocol, --device. Embeddings come from the store.",
    )
    parser.add_argument(
        "--leave_site_out",
        action="store_true",
        help="also fit the head of the protocol, or --head NAME, on all sites but one, for each: scores by site",
    )
    parser.add_argument(
        "--apd",
        type=int,
        default=0,
        metavar="N",
        help="also measure the average performance drop of probes, slides being drawn N times (20 in PathoROB)",
    )
    parser.add_argument("--output", default="out/robustness", help="folder for robustness.html and robustness.json")
    return parser


def write(content: Robustness, output: Path) -> Path:
    """Write the page, and last robustness.json, and print the table; returns the page."""
    from eva_vision.robustness.page import write_page
    from eva_vision.robustness.tables import show

    make_folder(output)
    page = write_page(content, output / "robustness.html")
    try:
        text = json.dumps(content, indent=1, allow_nan=False)
    except ValueError as error:
        raise EvaError("Expected numbers in robustness.json, but got NaN. Look at the embeddings.") from error
    write_text(output / ROBUSTNESS, text)
    show(content)
    return page
