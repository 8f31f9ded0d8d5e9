"""`eva shift RESULT ...`: whether the decisions of finished results change when the acquisition does.

Heads stay as they were fitted. Changes are made where pixels are read, before anything else; what was extracted once
is taken from the store.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eva_core import registry
from eva_core.config.argparser import Parser
from eva_core.errors import EvaError, UsageError
from eva_core.files.atomic_files import make_folder, write_text
from eva_core.progress import say

if TYPE_CHECKING:
    from eva_vision.shifts.study import Question

SCHEMA = 1
SHIFT = "shift.json"


def main(argv: list[str]) -> int:
    """Run `eva shift`."""
    given, words = _parser().parse_known_args(argv)
    first = next((place for place, word in enumerate(argv) if word.startswith("-")), len(argv))
    if list(map(str, given.results)) != argv[:first]:  # else a value of a flag would count as a result
        raise UsageError(
            "Expected the folders of results first, then flags: eva shift RESULT [RESULT ...] --changes ..."
        )
    content = shift(given.results, given.changes, given.reference, words, grid=given.move_grid)
    output = Path(given.output)
    keep_holds(content)
    print(write(content, output))
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="eva shift",
        description="Hold the decisions of finished results against those on the same images under changes of "
        "acquisition: flipped decisions, score, calibration, and the strength until which the score holds. Flags of "
        "`eva predict`, such as --dataset.root, --dataset.mpp, --device and --workers, go to every result.",
    )
    parser.add_argument("results", nargs="+", type=Path, help="folders that `eva fit` wrote, of the same images")
    names = ", ".join(dict.fromkeys(entry.name for entry in registry.changes.entries()))
    parser.add_argument(
        "--changes",
        help="names with commas, each with strengths of its own after =, as jpeg,blur=1:2; all with their usual "
        f"strengths unless given. There are {names}",
    )
    parser.add_argument("--reference", type=Path, help="an image whose stain others get, for stain_swap")
    parser.add_argument(
        "--move_grid",
        action="store_true",
        help="slides: look for tissue and lay out patches on the slide as it is changed, as a site would that has only "
        "that; patches stay where they are unless given",
    )
    parser.add_argument("--output", default="out/shift", help="folder for shift.html, shift.csv and shift.json")
    return parser


def shift(
    results: list[Path],
    changes: str | None = None,
    reference: Path | None = None,
    words: list[str] | None = None,
    tell: Callable[[str], None] = say,
    grid: bool = False,
) -> dict[str, Any]:
    """Hold decisions of finished results against those under changes of acquisition.

    Args:
        results: Folders that `fit` wrote, of the same images.
        changes: Names and strengths as the command line takes them.
        reference: Image that lends its stains.
        words: Flags of `eva predict`, for every result.
        tell: Receives lines for the user.
        grid: Whether the patches of slides are laid out anew on what is changed.
    Returns:
        The content of shift.json.
    Raises:
        UsageError: What is asked for cannot be done; nothing was extracted then.
        EvaError: An image cannot be read.
    """
    from eva_core.commands.predict import job_of_result
    from eva_vision.shifts.grid import grid_of
    from eva_vision.shifts.severity import pixel_differences
    from eva_vision.shifts.study import question_of, refuse_other_images, study

    questions = [question_of(folder, lambda path: job_of_result(path, words or []), grid) for folder in results]
    refuse_other_images(questions)
    job, kind = questions[0].job, questions[0].kind
    asked, left_out = grid_of(changes, reference, kind.knows_mpp(job.dataset))
    for line in left_out:
        tell(line)
    shifts = [one for of_change in asked.values() for one in of_change]
    differences, looked_at = pixel_differences(kind.looks(job), shifts, job.dataset.card.name)
    found = study(questions, asked, tell)
    for entry in found["models"]:
        for row, difference in zip(entry["shifts"], differences, strict=True):
            row["pixel_difference"] = difference
    return {
        "schema": SCHEMA,
        **_about(questions[0]),
        "unit": kind.unit,
        "looked_at": looked_at,
        "looked_at_unit": kind.looked_at,
        "moves_grid": grid and kind.unit == "slides",
        "left_out": left_out,
        "changes": {
            name: {"label": of[0].card.label, "ordered": of[0].card.ordered, "neutral": of[0].card.neutral}
            for name, of in asked.items()
        },
        **found,
    }


def _about(question: "Question") -> dict[str, Any]:
    main = question.results["main"]
    return {
        "dataset": question.results["identity"]["dataset"],
        "synthetic": question.results["synthetic"],
        "split": main["split"],
        "metric": main["metric"],
        "higher_is_better": main["higher_is_better"],
        "chance": main.get("chance"),
    }


def keep_holds(content: dict[str, Any], tell: Callable[[str], None] = say) -> None:
    """Leave beside each result until where its score holds, for boards; a folder that takes no file is named."""
    from eva_core.results.holds import write_holds
    from eva_core.results.record import read_results
    from eva_vision.shifts.tables import holds

    for entry in content["models"]:
        folder, changes = Path(entry["result"]), content["changes"].items()
        try:
            texts = {facts["label"]: holds(content, entry, name) for name, facts in changes}
            write_holds(folder, read_results(folder), texts)
        except EvaError as error:
            tell(f"{error} A board will not show until where {entry['model']} holds.")


def write(content: dict[str, Any], output: Path) -> Path:
    """Write the table, a plot of each model, the page, and last shift.json; returns the page."""
    from eva_vision.shifts.page import write_page
    from eva_vision.shifts.plot import draw
    from eva_vision.shifts.tables import show, write_csv

    make_folder(output)
    write_csv(content, output / "shift.csv")
    plots = [draw(content, number, output / f"shift-{number + 1}.png") for number in range(len(content["models"]))]
    page = write_page(content, plots, output / "shift.html")
    try:
        text = json.dumps(content, indent=1, allow_nan=False)
    except ValueError as error:
        raise EvaError("Expected numbers in shift.json, but got NaN: a head diverged. Fit it again.") from error
    write_text(output / SHIFT, text)
    show(content)
    return page
