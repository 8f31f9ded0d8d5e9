"""The page of a study of shifts: one HTML file with its plots inside, no network."""

import base64
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment

from eva_core.files.atomic_files import write_text
from eva_core.page_theme import read_template
from eva_core.results.report import number, span
from eva_core.shown import visible_in
from eva_vision.shifts.contracts import strength_text
from eva_vision.shifts.tables import holds

TEMPLATE = Path(__file__).with_name("page.html")


def write_page(content: dict[str, Any], plots: Sequence[Path], path: Path) -> Path:
    """Write the page.

    Args:
        content: As shift.json holds it.
        plots: The PNG of each model.
        path: Destination.
    Returns:
        The destination.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "span": span, "strength": strength_text}
    environment.globals["holds"] = holds
    template = environment.from_string(read_template(TEMPLATE))
    images = [base64.b64encode(plot.read_bytes()).decode() for plot in plots]
    text = template.render(study=visible_in(content), images=images, version=version("eva-pathology"))
    write_text(path, text)
    return path
