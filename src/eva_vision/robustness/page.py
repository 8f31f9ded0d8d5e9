"""The page of robustness: one HTML file, no network."""

from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment

from eva_core.files.atomic_files import write_text
from eva_core.page_theme import read_template
from eva_core.results.report import number, span
from eva_core.shown import visible_in
from eva_vision.robustness.schema import Registration, Robustness
from eva_vision.robustness.tables import LABELS, TESTED_ON, of_pairs, published_line

TEMPLATE = Path(__file__).with_name("page.html")
REGISTERED = Path(__file__).with_name("registered.html")


def write_page(content: Robustness | Registration, path: Path) -> Path:
    """Write the page.

    Args:
        content: As robustness.json or registration.json holds it.
        path: Destination.
    Returns:
        The destination.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "span": span, "published": published_line}
    environment.globals |= {"labels": LABELS, "tested_on": TESTED_ON, "of_pairs": of_pairs}
    template = environment.from_string(read_template(REGISTERED if "tiles" in content else TEMPLATE))
    write_text(path, template.render(study=visible_in(content), version=version("eva-pathology")))
    return path
