"""Colours that all pages of eva share, light and dark."""

from pathlib import Path

THEME = Path(__file__).with_name("page_theme.css")


def read_template(path: Path) -> str:
    """Read the template of a page, with the shared colours where it says `__THEME__`.

    Args:
        path: An HTML file, whose own style comes after the colours.
    """
    return path.read_text(encoding="utf-8").replace("__THEME__\n", THEME.read_text(encoding="utf-8"))
