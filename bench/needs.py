"""Which of eva's dependencies a machine without a network lacks, so that wheels can be fetched ahead."""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]


def installed_there(text: str) -> dict[str, str]:
    """Versions by canonical name from `pip list` in any of its formats: columns, freeze or JSON."""
    if text.lstrip().startswith("["):
        return {canonicalize_name(entry["name"]): entry["version"] for entry in json.loads(text)}
    found = {}
    for line in text.splitlines():
        if match := re.match(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?:\s*==\s*|\s+)(\d\S*)", line):
            found[canonicalize_name(match[1])] = match[2]
    return found


def needs(there: dict[str, str], requirements: list[str], python: str = "3.12") -> dict[str, str]:
    """What is missing or too old there: name to `NAME==VERSION  (why)`.

    What a missing package needs itself is looked up in this environment, where eva is installed, and so is the version.

    Args:
        there: From `installed_there`.
        requirements: Of eva, as pyproject states them.
        python: Version of Python there.
    """
    found: dict[str, str] = {}
    todo = [(Requirement(text), "eva") for text in requirements]
    while todo:
        wanted, by = todo.pop(0)
        name = canonicalize_name(wanted.name)
        have = there.get(name)
        enough = have is not None and _fits(wanted, have)
        if name in found or (enough and not wanted.extras):
            continue
        if not enough:
            why = f"have {have}, {by} needs {wanted.specifier}" if have else f"for {by}" if by != "eva" else "missing"
            found[name] = f"{wanted.name}=={_version_here(name, wanted)}  ({why})"
        todo += [(need, wanted.name) for need in _needs_of(name, wanted.extras, python)]
    return found


def _fits(wanted: Requirement, have: str) -> bool:
    try:
        return wanted.specifier.contains(Version(have), prereleases=True)
    except InvalidVersion:
        return False


def _version_here(name: str, wanted: Requirement) -> str:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return f"?{wanted.specifier}"


def _needs_of(name: str, extras: set[str], python: str) -> Iterator[Requirement]:
    try:
        texts = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for text in texts:
        try:
            need = Requirement(text)
        except InvalidRequirement:
            continue
        where = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
        if need.marker is None or any(need.marker.evaluate({**where, "extra": extra}) for extra in (extras or {""})):
            yield need


def main(file: Path) -> int:
    """Print a line for each package that is lacking; 0 where none is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = needs(installed_there(file.read_text(encoding="utf-8-sig")), project["dependencies"])
    sys.stdout.write("".join(f"{line}\n" for line in found.values()) or "Nothing is lacking.\n")
    return 1 if found else 0
