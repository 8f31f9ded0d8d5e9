"""The parts of a report and the page that draws them know each other."""

import re
from typing import get_args

from eva_core.contracts.sections import Section
from eva_core.reports.page import TEMPLATE


def test_the_page_draws_each_kind_of_part():
    kinds = {get_args(part.__annotations__["kind"])[0] for part in get_args(Section)}
    page = TEMPLATE.read_text(encoding="utf-8")
    drawn = re.findall(r"^  (\w+)\((?:box, part)?\) \{", page[page.index("const kinds = {") :], re.MULTILINE)
    assert set(drawn) == kinds
