"""`eva robustness`: how much the embeddings of models tell of the site where a slide was made, beside the tissue."""

import json
from pathlib import Path
from typing import cast

from eva_core.config.argparser import Parser
from eva_core.errors import EvaError, UsageError, refuse
from eva_core.files.atomic_files import make_folder, write_text
from eva_vision.robustness.schema import Registration, Robustness

ROBUSTNESS, REGISTRATION = "robustness.json", "registration.json"


def main(argv: list[str]) -> int:
    """Run `eva robustness`."""
    given, words = _parser().parse_known_args(argv)
    refuse((given.apd < 0, "--apd of at least 0", given.apd))
    from eva_core.commands.predict import jobs_of
    from eva_vision.robustness.registration import registration
    from eva_vision.robustness.study import study

    jobs, output = jobs_of(words), Path(given.output)
    registered = getattr(jobs[0].dataset, "registered", None)
    if registered is None:
        print(write(study(jobs, given.leave_site_out, given.apd), output))
        return 0
    if given.leave_site_out or given.apd:
        raise UsageError(
            f"Expected neither --leave_site_out nor --apd for {jobs[0].dataset.card.name}: it has no classes."
        )
    print(write(registration(jobs, registered), output))
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="eva robustness",
        description="Measure of some models on one dataset whose images carry classes and sites whether neighbours "
        "share the class or the site: RI, MaRI and CRoMa with its lower tail, beside published values. Of registered "
        "slides: whether embeddings of the same tissue stay when stain or scanner change. Flags of `eva predict` say "
        "what is measured: --config NAME or --dataset NAME, --model NAME or --models A,B,C, --protocol, --device. "
        "Embeddings come from the store.",
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


def write(content: Robustness | Registration, output: Path) -> Path:
    """Write the page, and last robustness.json or registration.json, and print the table; returns the page."""
    from eva_vision.robustness.page import write_page
    from eva_vision.robustness.tables import show, show_registration

    make_folder(output)
    name = REGISTRATION if "tiles" in content else ROBUSTNESS
    page = write_page(content, (output / name).with_suffix(".html"))
    try:
        text = json.dumps(content, indent=1, allow_nan=False)
    except ValueError as error:
        raise EvaError(f"Expected numbers in {name}, but got NaN. Look at the embeddings.") from error
    write_text(output / name, text)
    if name == REGISTRATION:
        show_registration(cast(Registration, content))
    else:
        show(cast(Robustness, content))
    return page
