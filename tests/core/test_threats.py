"""Commands on what others made: no file outside, no connection, no process, no foreign import, no secret.

The inputs are made here; one process then runs all commands on them, below a hook that sees what each of them does.
"""

import csv
import json
import os
import pickle
import shutil
import site
import subprocess
import sys
import sysconfig
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from eva_core.boards.board import pairs, read_board
from eva_core.cli import main
from eva_core.commands.leaderboard import NOTES
from eva_core.files.checked_lines import checked_line
from eva_core.files.checksums import sha256
from eva_core.files.sealed_records import FILES, vouch, write_record
from eva_core.results.record import RESULTS, read_json
from eva_pretrain.run.sole_process import LOCK
from eva_vision.datasets.folder import MANIFEST
from eva_vision.slides.build_index import build, in_this_process
from eva_vision.slides.index_files import BLOBS, LINES, LISTED, read_content
from eva_vision.synthetic.slides import write_phantom_slide
from tests.conftest import picture, write_tree
from tests.pretrain.studies.conftest import TINY as TINY_STUDY

TINY = ["--config", "demo", *TINY_STUDY[2:]]

SECRET = "hf_planted1234"
PRIVATE = "private of somebody"
NAMES = ["\x1b]0;owned\x07\x1b[31mred", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", r"\input{/etc/passwd}"]
"""What a terminal, a spreadsheet, a browser and TeX would follow."""
ENVIRONMENT = "http://127.0.0.1:9/${oc.env:SECRET}"
WATCH = """
    import contextlib, io, json, os, sys
    sys.path.pop(0)  # of this script
    trace, jobs = sys.argv[1], json.load(open(sys.argv[2]))
    seen = []
    def hook(event, arguments):
        if event == "open" and not isinstance(arguments[0], int):
            mode = arguments[1] if isinstance(arguments[1], str) else ""
            wrote = any(c in mode for c in "wax+") or bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            seen.append(["write" if wrote else "read", os.path.realpath(os.fsdecode(arguments[0]))])
        elif event in ("os.rename", "os.remove", "os.truncate", "os.mkdir", "shutil.rmtree"):
            paths = [p for p in arguments[:2] if isinstance(p, (str, bytes, os.PathLike))]
            seen.extend(["write", os.path.abspath(os.fsdecode(p))] for p in paths)
        elif event == "import":
            seen.append(["import", arguments[0]])
        elif event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec",
                       "os.posix_spawn", "os.fork"):
            seen.append([event, repr(arguments)])
    import torch, timm, lightning, openslide, torchmetrics, matplotlib.pyplot, jsonargparse
    import eva_core.api, eva_vision.datasets.folder, eva_pretrain.run.pretrain, eva_vision.slides.reading.blobs
    from eva_core.cli import main
    torch.set_num_threads(1)
    eva_vision.slides.reading.blobs.PATIENCE = 1.0  # no address answers
    sys.addaudithook(hook)
    done = {}
    for name, argv in jobs.items():
        del seen[:]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(argv)
        done[name] = {"code": code, "said": said.getvalue(), "seen": list(map(list, seen))}
    with open(trace, "w") as file:
        json.dump(done, file)
    os._exit(0)  # nothing is left to do
"""


class Job(NamedTuple):
    """What a command did."""

    code: int
    said: str
    seen: list[list[str]]


def libraries() -> tuple[str, ...]:
    """Folders of Python, its packages, the checkout and the system."""
    own = {*sysconfig.get_paths().values(), *site.getsitepackages(), sys.prefix, sys.base_prefix}
    own |= {str(Path(__file__).parents[2] / name) for name in ("src", "configs", "leaderboard")}
    own |= {str(Path(torch.__file__).parents[1]), str(Path(shutil.__file__).parent)}
    return (*(os.path.realpath(path) for path in own), "/usr/", "/lib", "/proc/", "/sys/", "/dev/", "/etc/mime.types")


def fit(dataset: Path, result: Path, protocol: Path) -> None:
    flags = ["--model", "colour_stats", "--protocol", protocol, "--device", "cpu", "--workers", 0]
    assert main(["fit", "--dataset", "folder", "--dataset.root", *map(str, [dataset, *flags, "--output", result])]) == 0


def with_manifest(root: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    """A tree of images with a manifest of what is in it, and of further rows (path, label, split, id)."""
    lines = [["path", "label", "split", "id"]]
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        split, label = path.relative_to(root).parts[:2]
        lines.append([str(path.relative_to(root)), NAMES[label == "pink"], split, f"{NAMES[number % 4]} {number}"])
    with (root / MANIFEST).open("w", newline="") as file:
        csv.writer(file).writerows([*lines, *rows])
    return root


class Inputs:
    """Hostile inputs below a folder, and what lies beside it and is nobody's business."""

    def __init__(self, root: Path) -> None:
        self.root = root / "here"
        self.private = root / "somebody"
        self.root.mkdir()
        self.private.mkdir()
        (self.private / "text").write_text(PRIVATE)
        (self.private / "module.py").write_text("raise SystemExit('imported')")
        Image.fromarray(picture(9)).save(self.private / "image.png")
        for name in ("pickle", "socket", "torch", "multiprocessing"):  # the folder that the commands run in
            (self.root / f"{name}.py").write_text("raise SystemExit('the folder that we are in is on the path')")
        self.protocol = self.root / "quick.yaml"
        self.protocol.write_text("name: quick\ngeometry: card\nheads: [logreg]\nselection: heldout\nC: [1.0]\n")
        self.dataset = with_manifest(
            write_tree(self.root / "data", {"train": 3, "val": 2, "test": 3}),
            [(str(self.private / "image.png"), NAMES[0], "test", "elsewhere")],
        )
        self.result = self.root / "result"
        fit(self.dataset, self.result, self.protocol)
        self.commands: dict[str, list[str]] = {}

    def run(self, name: str, *argv: object) -> None:
        """Note a command that is to run."""
        self.commands[name] = list(map(str, argv))

    def images(self, name: str) -> list[object]:
        """Flags of a fit on a dataset."""
        quiet = ["--model", "colour_stats", "--protocol", self.protocol, "--device", "cpu", "--workers", 0]
        return ["--dataset", "folder", "--dataset.root", self.root / name, *quiet]

    def changed_result(self, name: str, config: dict[str, Any] | None = None, **results: object) -> Path:
        """The result with another configuration or other fields, sealed as if eva had written it."""
        folder = self.root / name
        shutil.copytree(self.result, folder)
        if config is not None:
            known = yaml.safe_load((folder / "config.yaml").read_text())
            (folder / "config.yaml").write_text(yaml.safe_dump({**known, **config}))
        content = read_json(folder / RESULTS)
        files = vouch(folder, content.pop(FILES))
        write_record(folder / RESULTS, {**content, **results, FILES: {**files, **results.get(FILES, {})}})
        return folder


def shape_dataset(made: Inputs) -> None:
    """A manifest of hostile names, and others of which a row leads where no image is."""
    made.run("fit", "fit", *made.images("data"), "--output", made.root / "out" / "fit")
    made.run("predict", "predict", *made.images("data"))
    task = {"dataset": {"class_path": "folder", "init_args": {"root": str(made.dataset), "mpp": 0.5}}}
    (made.root / "task.yaml").write_text(yaml.safe_dump(task))
    settings = ["--config", made.root / "task.yaml", "--model", "colour_stats", "--protocol", made.protocol]
    made.run("profile", "profile", *settings, "--mpp", "0.5", "--output", made.root / "out" / "profile")
    one = made.root / "one"
    write_tree(one, {"train": 2, "test": 2})
    (one / "fifo.png").unlink(missing_ok=True)
    (one / "pickle.png").write_bytes(pickle.dumps(np.zeros(3)))
    (one / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(/etc/passwd) (r) file\n")
    (one / "link.png").symlink_to(made.private / "text")
    os.mkfifo(one / "fifo.png")
    rows = {
        "nul": "a\0.png",
        "address": "http://127.0.0.1:9/a.png",
        "file_address": f"file://{made.private / 'image.png'}",
        "up": f"../../{made.private.name}/text",
        "home": "~/text",
        "command": "|id",
        **{name: f"{name}.png" for name in ("pickle", "eps", "link", "fifo")},
    }
    for name, path in rows.items():
        copy = made.root / f"row_{name}"
        shutil.copytree(one, copy, symlinks=True, ignore=shutil.ignore_patterns("fifo.png"))
        os.mkfifo(copy / "fifo.png")
        for extra in ("pickle", "eps", "link", "fifo"):
            if extra != name:
                (copy / f"{extra}.png").unlink()
        images = [p for p in sorted(copy.rglob("*.png")) if p.parent != copy]
        lines = [[str(p.relative_to(copy)), p.parent.name, p.parts[-3]] for p in images]
        with (copy / MANIFEST).open("w", newline="") as file:
            csv.writer(file).writerows([["path", "label", "split"], *lines, [path, "pink", "test"]])
        made.run(f"row {name}", "fit", *made.images(f"row_{name}"), "--output", made.root / "out" / name)


ASKS = {"arch": "test_vit", "checkpoint": ENVIRONMENT}
CONFIGS = {
    "environment": {"model": {"class_path": "timm_model", "init_args": ASKS}},
    "module": {"model": {"class_path": "not_of_eva.build"}},
    "transform": {"protocol": {"name": "strict", "transform": "os.getcwd"}},
    "name": {"dataset": {"class_path": "folder", "init_args": {"root": "data", "name": "../../up"}}},
    "dataset": {"dataset": {"class_path": "not_of_eva.Data", "init_args": {"root": "${oc.env:SECRET}"}}},
}


def shape_results(made: Inputs) -> None:
    """Results whose configuration, names or list of files were written by somebody."""
    (made.root / "not_of_eva.py").write_text(f"open({str(made.private / 'ran')!r}, 'w')")
    for name, config in CONFIGS.items():
        folder = made.changed_result(f"result_{name}", {**config, "output": str(made.private / "out")})
        made.run(f"fit {name}", "fit", "--config", folder / "config.yaml", "--output", made.root / "out" / name)
        made.run(f"predict {name}", "predict", "--head", folder, "--output", made.root / "out" / f"head_{name}")
        made.run(f"report {name}", "report", folder)
        made.run(f"profile {name}", "profile", "--config", folder / "config.yaml", "--model", "colour_stats")
        board = {"models": ["colour_stats"], "tasks": [{"name": "t", "config": str(folder / "config.yaml")}]}
        (made.root / f"{name}.yaml").write_text(yaml.safe_dump(board))
        made.run(f"board {name}", "leaderboard", "--config", made.root / f"{name}.yaml", "--output", made.root / "b")
        study = {"base": str(folder / "config.yaml"), "variants": {"a": {}}, "tasks": {"in_distribution": ["phantom"]}}
        (made.root / f"study_{name}.yaml").write_text(yaml.safe_dump(study))
        made.run(f"study {name}", "study", "--config", made.root / f"study_{name}.yaml", "--output", made.root / "s")
    known = read_json(made.result / RESULTS)
    identity = {**known["identity"], "model": NAMES[0], "dataset": NAMES[2], "head": NAMES[1]}
    named = made.changed_result("result_named", identity=identity, contamination={"kind": NAMES[0]})
    made.run("compare named", "compare", named, made.result)
    made.run("report named", "report", named)
    elsewhere = {"dataset": {"class_path": "folder", "init_args": {"root": str(made.private)}}}
    made.run("report elsewhere", "report", made.changed_result("result_elsewhere", elsewhere))
    for name, file in (("up", f"../../{made.private.name}/text"), ("absolute", str(made.private / "text"))):
        files = {file: {"size": len(PRIVATE), "sha256": sha256(PRIVATE.encode())}}
        folder = made.changed_result(f"result_files_{name}", files=files)
        made.run(f"predict files {name}", "predict", "--head", folder, "--output", made.root / "out" / f"files_{name}")


def shape_board(made: Inputs) -> None:
    """The folder of a board as somebody packed it: names, pictures and links that lead elsewhere."""
    task = {"name": "t", "config": str(made.root / "task.yaml")}
    board = {"models": ["colour_stats"], "tasks": [task], "protocol": str(made.protocol)}
    file = made.root / "board.yaml"
    file.write_text(yaml.safe_dump(board))
    for name in ("shown", "run"):
        output = made.root / f"board_{name}"
        (pair,) = pairs(read_board(str(file)), output)
        known = read_json(made.result / RESULTS)
        file_above = f"../../../../{made.private.name}/image.png"
        overlays = [{"which": "best", "id": NAMES[2], "dice": 1.0, "file": file_above}]
        identity = {**known["identity"], "head": NAMES[1], "protocol": NAMES[3]}
        card = {**known["card"], "licence": NAMES[0], "source": NAMES[2]}
        made.changed_result(
            pair.result(pair.heads[0]).relative_to(made.root),
            identity=identity,
            card=card,
            overlays=[] if name == "run" else overlays,
        )
        for link in ("leaderboard.html", "leaderboard.csv", "comparisons.json", NOTES):
            (output / link).symlink_to(made.private / "text")
        more = ["--no-run"] if name == "shown" else []
        made.run(f"board {name}", "leaderboard", "--config", file, "--output", output, *more, "--workers", 0)


def shape_index(made: Inputs) -> None:
    """Indexes whose lines somebody wrote, and one whose file is a link."""
    slides = made.root / "slides"
    slides.mkdir()
    write_phantom_slide(slides / "a.svs", 512, 512, levels=1)
    write_phantom_slide(made.private / "b.svs", 512, 512, levels=1)
    made.run("show", "slides", "show", slides / "a.svs", "--output", made.root / "out" / "show.png")
    good = slides / "good"
    build([str(slides / "a.svs")], good, "hsv", None, in_this_process)
    (entry,) = read_content(good).entries.values()
    lines = {
        "file": {"path": str(made.private / "text")},
        "address": {"path": "http://127.0.0.1:9/${oc.env:SECRET}.svs"},
        "name": {"path": f"/nowhere/{NAMES[0]}.svs"},
        "field": {"module": "not_of_eva"},
    }
    for name, changes in lines.items():
        folder = slides / f"index_{name}"
        shutil.copytree(good, folder)
        (folder / LISTED).unlink()
        head = (good / LINES).read_bytes().partition(b"\n")[0] + b"\n"
        (folder / LINES).write_bytes(head + checked_line({**asdict(entry), **changes})[0])
        made.run(f"pretrain {name}", "pretrain", *TINY, "--slides", folder, "--output", made.root / "out" / f"p_{name}")
    for name in (LINES, BLOBS, LISTED, ".lock"):
        folder = slides / f"linked_{name}"
        shutil.copytree(good, folder)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(made.private / "text")
        made.run(f"index {name}", "slides", "index", slides / "a.svs", "--output", folder, "--workers", 1)


def shape_export(made: Inputs) -> None:
    """Exports whose card asks for something else than an architecture, or whose weights are a link."""
    card = {"schema": 1, "name": "m", "arch": "test_vit", "arch_args": {}, "mean": [0.5] * 3, "std": [0.5] * 3}
    card |= {"size": 32, "mpp": [0.5], "step": 1, "weights_of": "teacher", "file_sha256": "0" * 64}
    cards = {
        "hub": {"arch": "hf-hub:evil/model"},
        "folder": {"arch": f"local-dir:{made.private}"},
        "checkpoint": {"arch_args": {"checkpoint_path": str(made.private / "text")}},
        "config": {"arch_args": {"pretrained_cfg": {"url": ENVIRONMENT}}},
        "name": {"name": "../../up"},
        "weights": {},
    }
    for name, changes in cards.items():
        folder = made.root / f"export_{name}"
        folder.mkdir()
        (folder / "card.json").write_text(json.dumps({**card, **changes}))
        (folder / "slides.json").write_text('{"seen": []}')
        (folder / "model.safetensors").symlink_to(made.private / "text")
        made.run(f"models {name}", "models", folder)
        made.run(f"start {name}", "pretrain", *TINY, "--folder", made.root / "data", "--start", folder, "--output",
                 made.root / "out" / f"start_{name}")  # fmt: skip


class Call:
    """What a pickle calls as it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def shape_others(made: Inputs) -> None:
    """Embeddings of others, and the folder of a study with a link in it."""
    rows = {"pickle": "a.pt", "up": f"../{made.private.name}/text", "nul": "a\0.pt", "absolute": made.private / "text"}
    for name, file in rows.items():
        folder = made.root / f"kaiko_{name}"
        folder.mkdir()
        torch.save(Call(), folder / "a.pt")
        (folder / MANIFEST).write_text(f"origin,embeddings,target,split\n{NAMES[1]},{file},0,train\n")
        made.run(f"import {name}", "import", folder, "--model", "m", "--dataset", "d")
    output = made.root / "study"
    output.mkdir()
    (output / LOCK).symlink_to(made.private / "text")
    study = {"base": "demo", "variants": {"a": {}}, "tasks": {"in_distribution": ["phantom"]}}
    (made.root / "study.yaml").write_text(yaml.safe_dump(study))
    words = ["--config", made.root / "study.yaml", "--folder", made.root / "data", "--output", output]
    made.run("study linked", "study", *words)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVA_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = Inputs(tmp_path_factory.mktemp("threats"))
        for shape in (shape_dataset, shape_results, shape_board, shape_index, shape_export, shape_others):
            shape(made)
    return made


@pytest.fixture(scope="module")
def done(made: Inputs) -> dict[str, Job]:
    """What each command did, by its name; all in one process, as imports take most of the time."""
    (made.root.parent / "watch").mkdir()
    script, jobs, trace = (made.root.parent / "watch" / name for name in ("run.py", "jobs.json", "trace.json"))
    script.write_text(textwrap.dedent(WATCH))
    jobs.write_text(json.dumps(made.commands))
    own = {"HF_TOKEN": SECRET, "SECRET": SECRET, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "0"}
    own |= {name: str(made.root / name.lower()) for name in ("EVA_CACHE", "TMPDIR", "HOME")}
    for name in ("EVA_CACHE", "TMPDIR", "HOME"):
        Path(own[name]).mkdir()
    ran = subprocess.run(
        [sys.executable, str(script), str(trace), str(jobs)],
        env={**os.environ, **own}, cwd=made.root, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert trace.exists(), ran.stderr
    assert SECRET not in ran.stdout + ran.stderr
    return {name: Job(**found) for name, found in json.loads(trace.read_text()).items()}


FOLLOWED = {"fit", "predict", "profile", "board run", "row up", "row link"}
"""Commands whose manifest names an image, or what is none, on another disk of the user's."""
READ_THERE = (
    *sorted(FOLLOWED),
    "pretrain file",
    "import absolute",
    "models",
    "start",
    "report named",
    "report elsewhere",
)
"""Reports read the images that a configuration names, to tell whether they are those of the result, else show none."""
CHECKOUT = str(Path(__file__).parents[2] / "pyproject.toml")
"""What fails says where the checkout is newer than its install."""
FINDERS = ("ldconfig", "gcc", "'ld'", "objdump", "fc-list", "uname", "'git'")
"""Programs by which Python finds libraries, and eva the commit that it is of."""


def strange(job: Job, made: Inputs, reads: bool) -> list[list[str]]:
    """What a command did beyond its inputs, output, cache, Python and its libraries.

    Args:
        reads: It may look at what is named outside.
    """
    here, system = os.path.realpath(made.root), libraries()
    tried = (str(made.private / "text"),)  # through a link, which is refused as it is opened: it stays as it was
    fine = {
        "read": lambda name: (
            name.startswith((here, CHECKOUT, *system)) or (reads and name.startswith(str(made.private)))
        ),
        "write": lambda name: name.startswith((here, "/dev/null", "/dev/shm")) or (reads and name in tried),
        "import": lambda name: name.partition(".")[0] != "not_of_eva",
        "os.fork": lambda _: True,  # loaders of images, which answer through sockets that are files
        "socket.connect": lambda name: f"'{here}/" in name,
        "subprocess.Popen": lambda name: any(finder in name for finder in FINDERS),
        "os.posix_spawn": lambda name: any(finder in name for finder in FINDERS),
    }
    return [[what, name] for what, name in job.seen if not fine.get(what, lambda _: False)(name)]


def test_no_command_on_hostile_inputs_goes_elsewhere(done: dict[str, Job], made: Inputs):
    linked = [name for name in done if name.startswith("index ") or name in ("study linked", "board shown")]
    found = {name: strange(job, made, name.startswith(READ_THERE) or name in linked) for name, job in done.items()}
    assert {name: what for name, what in found.items() if what} == {}
    assert sorted(path.name for path in made.private.iterdir()) == ["b.svs", "image.png", "module.py", "text"]
    assert (made.private / "text").read_text() == PRIVATE
    assert not list(made.root.rglob("ran"))


def test_no_secret_and_no_content_of_others_is_shown_or_kept(done: dict[str, Job], made: Inputs):
    for name, job in done.items():
        assert SECRET not in job.said, name
        assert PRIVATE not in job.said, name
        assert "\x1b" not in job.said, name
        assert "Traceback" not in job.said, name
    for path in made.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert SECRET.encode() not in content, path
            assert PRIVATE.encode() not in content, path


def test_a_report_shows_no_images_but_those_of_its_result(done: dict[str, Job], made: Inputs):
    assert done["report elsewhere"].code == 0, done["report elsewhere"].said
    page = (made.root / "result_elsewhere" / "report.html").read_text()
    assert "are not here, or have changed since" in page


@pytest.mark.parametrize("name", ["fit", "predict", "profile", "show", "compare named", "report named", "board run"])
def test_what_is_only_named_strangely_works(done: dict[str, Job], name: str):
    assert done[name].code == 0, done[name].said


REFUSED = [f"{command} {name}" for command in ("fit", "predict", "profile", "board", "study") for name in CONFIGS]


def test_what_asks_for_more_is_refused_in_a_line(done: dict[str, Job]):
    refused = [name for name in done if name.startswith(("row ", "models ", "start ", "import ", "pretrain "))]
    for name in (*REFUSED, *refused, "study linked"):
        assert done[name].code in (1, 2), (name, done[name])
        assert "eva: " in done[name].said, name


def test_pages_of_a_board_hold_no_markup_or_formula_of_others(done: dict[str, Job], made: Inputs):
    for name in ("board_shown", "board_run"):
        assert "<script>alert" not in (made.root / name / "leaderboard.html").read_text()
        assert "\\input{/etc" not in (made.root / name / "leaderboard.tex").read_text()
        cells = (made.root / name / "leaderboard.csv").read_text().replace("\n", ",").split(",")
        assert not [cell for cell in cells if cell.strip('"').startswith("=")]
