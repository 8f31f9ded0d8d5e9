"""An editable checkout that was updated without being installed again: its new names are then unknown."""

import json
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

PACKAGE = "eva-pathology"


def stale_line() -> str | None:
    """What to do where names of the checkout are not installed, in a line; None where all are."""
    with suppress(PackageNotFoundError, OSError, ValueError, KeyError):
        installed = distribution(PACKAGE)
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
        if not origin.get("dir_info", {}).get("editable"):
            return None
        checkout = Path(unquote(urlsplit(origin["url"]).path))
        groups = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
        stated = {(group, name, target) for group, names in groups.items() for name, target in names.items()}
        known = {(entry.group, entry.name, entry.value) for entry in installed.entry_points}
        if missing := sorted(name for _, name, _ in stated - known):
            return (
                f"{checkout} was updated since it was installed: {', '.join(missing[:3])}"
                f"{f' and {len(missing) - 3} more' if len(missing) > 3 else ''} are not known yet. Run: "
                f"python -m pip install --editable {checkout}"
            )
    return None
