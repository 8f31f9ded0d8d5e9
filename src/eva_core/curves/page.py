"""The page of a curve: one HTML file with its plot inside, no network."""

import base64
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment

from eva_core.curves.schema import Curve
from eva_core.curves.table import columns_of, interval_of, nulls_of, percent, remarks
from eva_core.files.atomic_files import write_text
from eva_core.page_theme import read_template
from eva_core.results.report import number, span
from eva_core.shown import visible_in

TEMPLATE = Path(__file__).with_name("page.html")


def write_page(curve: Curve, plot: Path, path: Path) -> Path:
    """Write the page.

    Args:
        curve: As curve.json holds it.
        plot: Its PNG.
        path: Destination.
    Returns:
        The destination.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "span": span, "percent": percent}
    environment.globals["interval_of"] = interval_of
    shown = visible_in(curve)
    text = environment.from_string(read_template(TEMPLATE)).render(
        curve=shown,
        columns=columns_of(curve),
        nulls=nulls_of(shown),
        remarks=visible_in(remarks(curve)),
        image=base64.b64encode(plot.read_bytes()).decode(),
        version=version("eva-pathology"),
    )
    write_text(path, text)
    return path
