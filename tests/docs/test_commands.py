"""Every `eva` command in a block of shell on any page, README included: its parser takes it, and quick ones run."""

import argparse
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dataset_pages
import jsonargparse
import pytest
import torch

from eva_core import cli, registry
from eva_core.config.argparser import Parser
from eva_core.config.files import find_config
from eva_pretrain.run.export import ExportDetails, export
from eva_vision.datasets.folder import Folder
from eva_vision.models.timm import timm_model
from eva_vision.synthetic.slides import write_phantom_slide
from tests.conftest import write_tree

HOME = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<body>.*?)^```", re.M | re.S)
SHELLS = {"sh", "bash", "shell", "console"}
EVA = ("eva", "$(command -v eva)")
LISTS = {"models", "datasets", "heads", "methods", "protocols", "tasks", "doctor", "completion", "--version"}
"""Commands without more than names."""


FEWER = ["--protocol.steps", "20", "--protocol.evaluate_every", "10", "--protocol.runs", "1"]
"""Shortens a fit."""


class Command(NamedTuple):
    """A command of a page: its words after `eva`, and the variables before it."""

    page: str
    words: list[str]
    variables: dict[str, str]

    def __str__(self) -> str:
        return f"{self.page}: eva {shlex.join(self.words)}"


def pages() -> dict[str, str]:
    """Texts of all pages by their path; those of datasets as they are generated."""
    ours = [entry for entry in registry.datasets.entries() if entry.package == "eva-pathology"]
    by_hand = [path for path in (HOME / "docs").rglob("*.md") if path.parent.name != "datasets"]
    texts = {str(path.relative_to(HOME)): path.read_text(encoding="utf-8") for path in [HOME / "README.md", *by_hand]}
    generated = dataset_pages.pages(ours, HOME / "docs/datasets")
    return dict(sorted({**texts, **{f"docs/{path}": text for path, text in generated.items()}}.items()))


def commands_of(page: str, text: str) -> Iterator[Command]:
    """Find the `eva` commands of a page, in their order."""
    for block in BLOCK.finditer(text):
        if block["kind"] in SHELLS:
            for line in re.sub(r"\\\n\s*", " ", block["body"]).splitlines():
                yield from commands_in(page, line)


def commands_in(page: str, line: str) -> Iterator[Command]:
    """Find the `eva` commands of a line, behind launchers, variables and `source <(...)` too."""
    line = re.sub(r"<\((.*)\)", r"; \1", line.removeprefix("$ "))
    line = re.sub(r"(?<!\S)(2>&1|[12&]?>{1,2} *\S+)", "", line)
    words = shlex.split(re.sub(r"(?<!\S)(;|&&|\|)(?!\S)", "\n", line).replace("\n", " ; "), comments=True)
    part: list[str] = []
    for word in [*words, ";"]:
        if word != ";":
            part.append(word)
            continue
        at = next(
            (i for i, name in enumerate(part) if name in EVA and part[max(i - 1, 0)] not in ("-t", "--tag")), None
        )
        if at is not None:
            given = dict(name.split("=", 1) for name in part[:at] if re.match(r"[A-Z_]+=", name))
            yield Command(page, part[at + 1 :], given)
        part = []


PAGES = pages()
COMMANDS = [command for page, text in PAGES.items() for command in commands_of(page, text)]


def files_of(text: str) -> dict[str, str]:
    """Files that a page shows, by the names in their titles."""
    shown = [(block["title"] or "", block["body"]) for block in BLOCK.finditer(text)]
    return {title: body for title, body in shown if re.fullmatch(r"[\w/]+\.(yaml|py|txt)", title)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages take for granted: images, slides, exports."""
    root = tmp_path_factory.mktemp("world")
    for name in ("my_patches", "DIR"):
        write_tree(root / name, {"train": 6, "val": 4, "test": 4})
    shutil.copytree(root / "my_patches/test/pink", root / "new_images")
    for name in ("one.svs", "slides/a.svs", "slides/b.svs"):
        (root / name).parent.mkdir(exist_ok=True)
        write_phantom_slide(root / name, 1024, 768, seed=len(name), levels=2)
    (root / "test_patients.txt").write_text("TCGA-AA-0001\n")
    network = timm_model("test_vit", depth=2).network  # type: ignore[attr-defined]
    details = ExportDetails(
        name="mine-3f2a91c0", mean=(0.5,) * 3, std=(0.5,) * 3, size=96, mpp=(0.5, 0.5), config="", step=7, seen=[]
    )
    for run in ("first", "mine", "vits14"):
        export(root / "out" / run / "export", network.state_dict(), "test_vit", {"depth": 2}, details)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("EVA_CACHE", str(root / "cache"))
        folder = ["fit", "--config", "folder", "--dataset.root", "my_patches", "--model", "colour_stats"]
        assert cli.main([*folder, "--output", "out/colour", *FEWER]) == 0
    shutil.copytree(root / "out/colour", root / "out/my_masks")  # `predict --head` takes the same flags for both
    return root


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, and the working folder."""
    folder = tmp_path / "here"
    shutil.copytree(world, folder, copy_function=os.link)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(registry.datasets, "_registered", {})
    registry.datasets.register("my_patches")(Folder)  # what docs/add_a_dataset.md adds
    torch.set_num_threads(1)
    return folder


class Parsed(BaseException):
    """What stops a command once its parser has taken all of its words."""


@pytest.fixture
def only_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no command go beyond its parser."""

    def stopping(parse: Any) -> Any:
        def parse_and_stop(self: argparse.ArgumentParser, *given: Any, **more: Any) -> None:
            found = parse(self, *given, **more)
            if isinstance(self, Parser) and "config" in found:
                find_config(found.config)
            raise Parsed

        return parse_and_stop

    for kind in (Parser, jsonargparse.ArgumentParser):
        monkeypatch.setattr(kind, "parse_args", stopping(kind.parse_args))


def test_commands_are_found():
    line = 'A=1 eva fit --x "a b" 2> log | tee log && torchrun -n 2 "$(command -v eva)" pretrain  # eva models'
    assert [(c.words, c.variables) for c in commands_in("page", line)] == [
        (["fit", "--x", "a b"], {"A": "1"}),
        (["pretrain"], {}),
    ]
    assert list(commands_in("page", "docker build -t eva .")) == []
    assert [c.words for c in commands_in("page", "source <(eva completion bash)")] == [["completion", "bash"]]
    assert [c.words for c in commands_of("page", "```sh\neva fit \\\n    --a 1\n```\n")] == [["fit", "--a", "1"]]
    assert len(COMMANDS) > 80


@pytest.mark.usefixtures("only_parsed")
@pytest.mark.parametrize("command", [c for c in COMMANDS if c.words[0] not in LISTS], ids=str)
def test_a_parser_takes_it(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    for name, text in files_of(PAGES[command.page]).items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    for name, value in command.variables.items():
        monkeypatch.setenv(name, value)
    try:
        code: int | str = cli.main(command.words)
    except Parsed:
        code = "parsed"
    except SystemExit as ended:
        code = "parsed" if ended.code == 0 else str(ended.code)
    assert code in ("parsed", 0), capsys.readouterr().err


QUICK = (
    *(rf"{name}( |$)" for name in sorted(LISTS)),
    r"slides show one\.svs",
    r"slides index \S+ --output",
    r"(fit|predict) --config folder .*--model colour_stats",
)
"""Commands that run here in seconds, by how they begin."""


def is_quick(command: Command) -> bool:
    line = " ".join(command.words)
    here = not re.search(r"/data/|s3://|--print_config", line)
    return here and any(re.match(pattern, line) for pattern in QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({c.page for c in COMMANDS if is_quick(c)}))
def test_quick_commands_of_a_page_run_in_their_order(page: str, here: Path, monkeypatch, capsys):
    shutil.rmtree(here / "out/colour")
    (here / "wsis").symlink_to("slides")
    for name, text in files_of(PAGES[page]).items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    monkeypatch.setenv("DATA_ROOT", "my_patches")
    for number, command in enumerate(filter(is_quick, COMMANDS)):
        if command.page == page:
            fits = command.words[0] in ("fit", "predict")
            output = (
                ["--output", f"out/{number}"] if command.words[0] == "fit" and "--output" not in command.words else []
            )
            assert cli.main([*command.words, *(FEWER if fits else []), *output]) == 0, capsys.readouterr().err
