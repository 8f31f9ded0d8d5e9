"""Opens pages in a browser, where there is one."""

import os
import sys
import webbrowser
from pathlib import Path

from eva_core.progress import say


def open_page(page: Path) -> None:
    """Open a page in the browser of whoever sits in front of a terminal with a screen; else name it."""
    screen = sys.platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    if sys.stdout.isatty() and screen and webbrowser.open(page.resolve().as_uri()):
        say(f"Opened {page} in your browser.")
    else:
        say(f"Open {page} in a browser.")
