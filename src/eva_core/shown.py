"""Text from outside, as it may be shown: names of classes, slides and models, and messages of servers.

On a screen a text cannot move the cursor, hide what stands beside it or turn its direction; in a spreadsheet it is no
formula, in Markdown no markup, in TeX no command.
"""

import re
import unicodedata
from typing import Any

from eva_core.files.addresses import without_secrets

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_TEX = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", '"': r"\textquotedbl{}"},
}


def visible(text: object) -> str:
    r"""A text as one line: what a terminal obeys becomes an escape such as `\x1b`, and addresses lose their secrets.

    Examples:
        >>> visible("slide\x1b[2J\n7")
        'slide\\x1b[2J\\n7'
    """
    return "".join(map(_visible, without_secrets(str(text))))


def visible_in(value: Any) -> Any:
    """A value whose texts, in lists and mappings, are as `visible` gives them."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(k) if isinstance(k, str) else k: visible_in(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [visible_in(v) for v in value]
    return value


def for_spreadsheet(value: Any) -> Any:
    """A cell of a CSV file: a text that a spreadsheet would compute has an apostrophe before it; numbers stay.

    Examples:
        >>> for_spreadsheet("=1+1"), for_spreadsheet(-0.5)
        ("'=1+1", -0.5)
    """
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if value.lstrip(" ").startswith(_FORMULA) else text


def for_markdown(text: object) -> str:
    """A text in a cell of a Markdown table, or in a line: no cell ends in it, and nothing in it is markup or HTML."""
    safe = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*\[\]|]|(?<!\w)_|_(?!\w)", r"\\\g<0>", safe)


def for_tex(text: object) -> str:
    """A text in TeX, each of its letters as it is."""
    return "".join(_TEX.get(c, c) for c in visible(text))


def for_matplotlib(text: object) -> str:
    """A label of a plot: no formula, and not hidden from the legend as labels are that begin with `_`."""
    safe = visible(text).replace("$", r"\$")
    return f"\u200b{safe}" if safe.startswith("_") else safe


def _visible(c: str) -> str:
    if c.isprintable():
        return c
    return " " if unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode()
