"""Text from outside: file names of any bytes, and names that differ for a computer alone."""

import re
import unicodedata


def printable(name: str) -> str:
    r"""A file name as text that any file can hold: bytes that are not UTF-8 become escapes such as `\xfc`.

    Examples:
        >>> printable("Dr\udcfcse.png")
        'Dr\\xfcse.png'
    """
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a pair, as JSON may hold it
        return name.encode("utf-8", "backslashreplace").decode()


def folded(name: str) -> str:
    """What two spellings of a name have in common: no case, no spaces around, one Unicode form, `01` as `1`.

    Spaces within count as one; characters that show nothing (a byte order mark, a joiner) are left out.

    Examples:
        >>> folded(" Grade  I") == folded("grade i")
        True
        >>> folded("01")
        '1'
    """
    shown = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    text = unicodedata.normalize("NFC", " ".join(shown.split()).casefold())
    number = re.fullmatch(r"([+-]?)0*(\d+?)(?:\.0*)?", text)
    return f"{number[1].strip('+')}{number[2]}" if number else text
