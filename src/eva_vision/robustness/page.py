"""The page of robustness: one HTML file, no network."""

from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment

from eva_core.files.atomic_files import write_text
from eva_core.page_theme import read_template
from eva_core.results.report import number
from eva_core.shown import visible_in
from eva_vision.robustness.schema import Robustness
from eva_vision.robustness.tables import LABELS, TESTED_ON, published_line, shown

TEMPLATE = Path(__file__).with_name("page.html")


def write_page(content: Robustness, path: Path) -> Path:
    """Write the page.

    Args:
        content: As robustness.json holds it.
        path: Destination.
    Returns:
        The destination.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "shown": shown, "published": published_line}
    environment.globals |= {"labels": LABELS, "tested_on": TESTED_ON}
    template = environment.from_string(read_template(TEMPLATE))
    write_text(path, template.render(study=visible_in(content), version=version("eva-pathology")))
    return path
