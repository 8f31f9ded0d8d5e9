"""The Dockerfile, read: no docker is at hand in CI. `make lint` reads it with hadolint, too."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """Instructions with their arguments, in order; comments left out and continued lines joined."""
    lines = [line for line in (HOME / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def arguments(name: str) -> list[str]:
    return [rest for word, rest in instructions() if word == name]


def test_it_is_built_from_the_wheel_in_two_stages():
    assert arguments("FROM") == ["python:${PYTHON}-slim AS wheel", "python:${PYTHON}-slim"]
    (install,) = [rest for rest in arguments("RUN") if "/wheel/*.whl" in rest]
    assert install.index("cpu_torch.py") < install.index("pip install")  # else torch comes with CUDA
    assert "--editable" not in install


def test_its_build_arguments_have_defaults_that_work():
    given = dict(rest.split("=", 1) for rest in arguments("ARG"))
    assert given.keys() == {"PYTHON", "TORCH", "WITH", "UID"}
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {given['PYTHON']}" in project["classifiers"]
    assert given["TORCH"] == "cuda"
    ray = given["WITH"].strip('"').replace("[default]", "")
    assert [ray] == project["optional-dependencies"]["ray"]


def test_it_runs_eva_as_nobody_special():
    words = instructions()
    assert ("USER", "${UID}") in words
    after = [word for word, _ in words[words.index(("USER", "${UID}")) :]]
    assert "RUN" not in after
    assert words[-2:] == [("ENTRYPOINT", '["eva"]'), ("CMD", '["--help"]')]


def sources() -> list[str]:
    copied = [rest.split()[:-1] for rest in arguments("COPY") if "--from=" not in rest]
    return [source for each in copied for source in each]


@pytest.mark.parametrize("source", sources())
def test_what_it_copies_is_there_and_is_sent_to_the_daemon(source):
    assert (HOME / source).exists()
    ignored = False
    for line in (HOME / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            first = Path(source).parts[0]
            ignored = not line.startswith("!") if fnmatch(first, line.removeprefix("!")) else ignored
    assert not ignored


def test_the_wheel_is_made_of_what_it_copies():
    wheel = tomllib.loads((HOME / "pyproject.toml").read_text())
    force = wheel["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    needed = {Path(path).parts[0] for path in [*force, "src", wheel["project"]["readme"], "LICENSE"]}
    assert needed <= {Path(source).parts[0] for source in sources()}
