"""List the dependencies of eva that a machine without a network lacks, so that wheels can be fetched ahead."""

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


def parse_pip_list(text: str) -> dict[str, str]:
    """Parse the output of `pip list` in any of its formats (columns, freeze, JSON): version by canonical name."""
    if text.lstrip().startswith("["):
        return {canonicalize_name(entry["name"]): entry["version"] for entry in json.loads(text)}
    versions = {}
    for line in text.splitlines():
        if match := re.match(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?:\s*==\s*|\s+)(\d\S*)", line):
            versions[canonicalize_name(match[1])] = match[2]
    return versions


def needs(installed: dict[str, str], requirements: list[str], python: str = "3.12") -> dict[str, str]:
    """List the packages that are missing or too old: name to `NAME==VERSION  (why)`.

    The requirements and the version of a missing package are looked up in this environment, where eva is installed.

    Args:
        installed: Versions on the other machine, from `parse_pip_list`.
        requirements: Requirements of eva, as pyproject states them.
        python: Version of Python on the other machine.
    """
    missing: dict[str, str] = {}
    queue = [(Requirement(text), "eva") for text in requirements]
    while queue:
        requirement, by = queue.pop(0)
        name = canonicalize_name(requirement.name)
        version = installed.get(name)
        enough = version is not None and _fits(requirement, version)
        if name in missing or (enough and not requirement.extras):
            continue
        if not enough:
            why = (
                f"have {version}, {by} needs {requirement.specifier}"
                if version
                else f"for {by}"
                if by != "eva"
                else "missing"
            )
            missing[name] = f"{requirement.name}=={_version_here(name, requirement)}  ({why})"
        queue += [(need, requirement.name) for need in _needs_of(name, requirement.extras, python)]
    return missing


def _fits(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _version_here(name: str, requirement: Requirement) -> str:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return f"?{requirement.specifier}"


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
    """Print a line for each missing package; return 0 where none is missing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    missing = needs(parse_pip_list(file.read_text(encoding="utf-8-sig")), project["dependencies"])
    sys.stdout.write("".join(f"{line}\n" for line in missing.values()) or "Nothing is missing.\n")
    return 1 if missing else 0
