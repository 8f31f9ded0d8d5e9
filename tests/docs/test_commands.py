"""Every `eva` command in a block of shell on any page, README included, runs, page by page, in the order of the page.

What this machine lacks is stood in for, as `stand_ins` says; the few that need other machines are parsed alone.
"""

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
import yaml

from eva_core import cli, registry
from eva_core.config.argparser import Parser
from eva_core.config.files import find_config
from eva_pretrain.run.export import ExportDetails, export
from eva_vision.datasets.folder import Folder
from eva_vision.models.timm import timm_model
from eva_vision.synthetic.slides import write_phantom_slide
from tests.conftest import write_tree
from tests.docs import stand_ins
from tests.hub import TOKEN, Hub

HOME = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<body>.*?)^```", re.M | re.S)
SHELLS = {"sh", "bash", "shell", "console"}
EVA = ("eva", "$(command -v eva)")
ELSEWHERE = {
    "--config hest_": "has no stand-in here yet; tests/vision/datasets/test_hest_board.py fits tiny trees",
    "--config tp53_slides": "needs more patients than its tiny tree has; tests/vision has them",
    "--training.nodes 4": "needs four machines of eight GPUs each",
    "--merge their_results": "needs results of others; tests/core/boards/test_community.py merges some",
    "--gpus 1": "asks Ray for a GPU; tests/core/boards/test_run.py runs boards over Ray without one",
}
"""Commands that cannot run here, by words of them, and why; their parser takes them all the same."""


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


def write_files(page: str, folder: Path) -> None:
    """Write the files that a page shows."""
    for name, text in files_of(PAGES[page]).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(stand_ins.shortened_file(text))


def runs_here(command: Command) -> bool:
    return not any(words in shlex.join(command.words) for words in ELSEWHERE)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages take for granted: images, slides, masks, embeddings, weights, results."""
    root = tmp_path_factory.mktemp("world")
    for name in ("my_patches", "DIR", "data"):
        write_tree(root / name, {"train": 6, "val": 4, "test": 4})
    shutil.copytree(root / "my_patches/test/pink", root / "new_images")
    shutil.copytree(root / "my_patches/train", root / "patches")
    for name in (
        "one.svs",
        "CMU-1-Small-Region.svs",
        "out/demo/real/CMU-1-Small-Region.svs",
        "synthetic.svs",
        "slides/one.svs",
        "slides/a.svs",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_phantom_slide(root / name, 1024, 768, seed=len(name), levels=2)
    (root / "wsis").symlink_to("slides")
    (root / "test_patients.txt").write_text("TCGA-AA-0001\n")
    stand_ins.write_datasets(root / "datasets")
    stand_ins.write_hospital(root / "hospital", ["label", "value", "time", "event"])
    stand_ins.write_embeddings(root / "EMBEDDINGS_FOLDER")
    stand_ins.write_short_configs(root / "shipped")
    return root


@pytest.fixture(scope="module")
def weights() -> dict[str, bytes]:
    return stand_ins.published_weights()


@pytest.fixture(scope="module")
def made(world: Path, weights: dict[str, bytes]) -> Path:
    """The same folder, with exports and results that pages take from others."""
    (world / "my_fm.safetensors").write_bytes(weights["timm/vit_small_patch16_224.dino/model.safetensors"])
    details = ExportDetails(
        name="mine-3f2a91c0", mean=(0.5,) * 3, std=(0.5,) * 3, size=96, mpp=(0.5, 0.5), config="", step=7, seen=[]
    )
    network = timm_model("test_vit", depth=2).network  # type: ignore[attr-defined]
    for run in ("first", "mine", "vits14"):
        export(world / "out" / run / "export", network.state_dict(), "test_vit", {"depth": 2}, details)
    with pytest.MonkeyPatch.context() as patch, stand_ins.configs_in(world / "shipped"):
        patch.chdir(world)
        patch.setenv("EVA_CACHE", str(world / "cache"))
        for model, output in (("colour_stats", "colour"), ("out/first/export", "score"), ("colour_stats", "bach/uni")):
            data = ["fit", "--config", "folder", "--dataset.root", "my_patches", "--workers", "0"]
            assert cli.main([*data, "--model", model, "--output", f"out/{output}"]) == 0
        assert cli.main(["slides", "index", "slides/*.svs", "--output", "index/"]) == 0
    shutil.copytree(world / "out/bach/uni", world / "out/bach/phikon")
    return world


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, and the working folder."""
    folder = tmp_path / "here"
    skipped = shutil.ignore_patterns("datasets", "cache", "shipped")
    shutil.copytree(world, folder, copy_function=os.link, symlinks=True, ignore=skipped)
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
@pytest.mark.parametrize("command", [command for command in COMMANDS if not runs_here(command)], ids=str)
def test_a_parser_takes_what_cannot_run(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    write_files(command.page, here)
    for name, value in command.variables.items():
        monkeypatch.setenv(name, value)
    try:
        code: int | str = cli.main(command.words)
    except Parsed:
        code = "parsed"
    except SystemExit as ended:
        code = "parsed" if ended.code == 0 else str(ended.code)
    assert code in ("parsed", 0), capsys.readouterr().err


def finished(words: list[str]) -> int | str | None:
    """Run a command to its end; its code."""
    try:
        return cli.main(words)
    except SystemExit as ended:  # after --print_config
        return ended.code


def output_of(command: Command) -> Path | None:
    """Find the folder that a command writes."""
    words = command.words
    return Path(words[words.index("--output") + 1]) if "--output" in words else None


def output_for(command: Command, number: int) -> list[str]:
    """Give a fit an output of its own: a page may show several ways to the one that is usual."""
    return ["--output", f"out/{number}"] if command.words[0] == "fit" and output_of(command) is None else []


def data_root(command: Command) -> str:
    """Name the folder of the dataset of a config."""
    folders = {"mask_folder": "datasets/mask_folder", "slide_folder": "datasets/slide_folder", "folder": "my_patches"}
    for name, folder in folders.items():
        if f"--config {name} " in shlex.join([*command.words, ""]):
            return folder
    return "datasets"


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({command.page for command in COMMANDS if runs_here(command)}))
def test_the_commands_of_a_page_run_in_their_order(
    page: str, made: Path, here: Path, weights: dict[str, bytes], hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd
):
    (here / "datasets").symlink_to(made / "datasets")
    links = {"my_masks": "mask_folder", "consep_patches": "consep_patches", "my_findings": "label_table"}
    for link, folder in links.items():
        (here / link).symlink_to(made / "datasets" / folder)
    hub.files |= {path: content for path, content in weights.items() if "://" not in path}
    for repo in ("me/fm", "them/fm"):
        hub.files |= {f"{repo}/{path.name}": path.read_bytes() for path in (here / "out/first/export").iterdir()}
    hub.files["datasets/OWNER/DATASET/eval.yaml"] = yaml.safe_dump({"tasks": [{"id": "TASK"}]}).encode()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    stand_ins.put_released(weights)
    stand_ins.count_what_is_there(monkeypatch)
    stand_ins.train_in_this_process(monkeypatch)
    write_files(page, here)
    with stand_ins.shallow_networks(), stand_ins.configs_in(made / "shipped"):
        commands = [command for command in COMMANDS if command.page == page and runs_here(command)]
        for command in commands:
            if (output := output_of(command)) is not None:
                shutil.rmtree(output, ignore_errors=True)  # other pages take it for granted; this one makes it
        for number, command in enumerate(commands):
            for name, value in {"DATA_ROOT": data_root(command), **command.variables}.items():
                monkeypatch.setenv(name, value)
            capfd.readouterr()
            code = finished([*stand_ins.shortened(command.words), *output_for(command, number)])
            said = capfd.readouterr()
            # nobody publishes what networks of one block score, which `--published` says
            assert code == (1 if "--published" in command.words else 0), f"{command}\n{said.err}"
            if command.words[0] == "import":
                (here / "STORE").symlink_to(said.out.strip())
