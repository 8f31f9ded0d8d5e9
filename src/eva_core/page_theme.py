"""Colours that all pages of eva share, light and dark, and the layout that pages of studies share."""

from pathlib import Path

THEME, STUDY = (Path(__file__).with_name(name) for name in ("page_theme.css", "page_study.css"))


def read_template(path: Path) -> str:
    """Read the template of a page, with the shared colours where it says `__THEME__`, and a study's layout likewise.

    Args:
        path: An HTML file, whose own style comes after these.
    """
    text = path.read_text(encoding="utf-8")
    for mark, style in (("__THEME__\n", THEME), ("__STUDY__\n", STUDY)):
        text = text.replace(mark, style.read_text(encoding="utf-8"))
    return text
