"""Every page that eva writes takes its colours from one place."""

from pathlib import Path

import pytest

import eva_core
from eva_core.page_theme import STUDY, THEME, read_template

SOURCES = Path(eva_core.__file__).parents[1]
TEMPLATES = sorted(SOURCES.rglob("*.html"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(SOURCES)))
def test_a_template_has_the_shared_colours_and_none_of_its_own_for_them(template: Path):
    assert "--ink: #" not in template.read_text(encoding="utf-8")
    text = read_template(template)
    assert THEME.read_text(encoding="utf-8") in text
    assert "__THEME__" not in text


def test_all_pages_are_looked_at():
    assert {path.name for path in TEMPLATES} == {"page.html", "demo_page.html", "watch.html", "registered.html"}
    assert len(TEMPLATES) == 8


def test_pages_of_studies_share_their_layout():
    studies = [path for path in TEMPLATES if "__STUDY__" in path.read_text(encoding="utf-8")]
    assert len(studies) == 4
    for path in studies:
        text = read_template(path)
        assert STUDY.read_text(encoding="utf-8") in text
        assert "__STUDY__" not in text
