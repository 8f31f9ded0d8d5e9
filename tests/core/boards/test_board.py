"""A board end to end: what is missing runs, what is done stays, what fails is a row."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from eva_core.boards.board import check, pairs, read_board
from eva_core.boards.standings import published_values, standings
from eva_core.cli import main
from eva_core.commands.compare import compare
from eva_core.config.files import shipped
from eva_core.config.parser import parse
from eva_core.config.protocols import resolve
from eva_core.errors import UsageError
from eva_core.results.record import is_whole, read_results
from eva_vision.datasets.monusac import Monusac
from tests.conftest import write_tree
from tests.core.conftest import BROKEN, VIT32
from tests.vision.datasets.test_monusac import tree as tree_of_monusac


def test_a_finished_board_runs_nothing_and_never_imports_torch(spec: Path, finished: Path):
    content = yaml.safe_load(spec.read_text())
    content["models"] = content["models"][:2]
    spec.write_text(yaml.safe_dump(content))
    code = (
        "import sys; from eva_core.cli import main; "
        f"assert main(['leaderboard', '--config', {str(spec)!r}, '--output', {str(finished)!r}]) == 0; "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("leaderboard.html")


def test_another_checkpoint_at_the_same_path_is_another_pair(spec: Path, tmp_path: Path):
    (tmp_path / "w.pth").write_bytes(b"one")
    content = yaml.safe_load(spec.read_text())
    content["models"] = [{**BROKEN, "init_args": {"arch": "test_vit", "checkpoint": str(tmp_path / "w.pth")}}]
    spec.write_text(yaml.safe_dump(content))
    before = pairs(read_board(str(spec)), tmp_path)[0].folder
    (tmp_path / "w.pth").write_bytes(b"two!")
    assert pairs(read_board(str(spec)), tmp_path)[0].folder != before


def test_compare_says_a_sentence_for_each_pair(spec: Path, finished: Path):
    cells = [r.cells["tree"] for r in standings(read_board(str(spec)), finished).rows if r.head == "linear"]
    folders = [finished / cell.folder for cell in cells if cell.folder]
    (sentence,) = compare(folders)
    assert "balanced_accuracy differs by" in sentence
    assert "16 images, image-level: optimistic" in sentence
    assert "McNemar" in sentence
    assert compare([folders[0], folders[0]])[0].count("cannot be told apart") == 1
    with pytest.raises(UsageError, match="one of"):
        compare(folders, metric="dice")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"tasks": ["folder"]}, "models is missing"),
        ({"models": ["a"], "tasks": ["folder"], "model": 1}, "model is unknown"),
        ({"models": [], "tasks": ["folder"]}, "to be a list"),
        ({"models": ["a", "a"], "tasks": ["folder"]}, "a stands twice"),
        ({"models": [{"arch": 1}], "tasks": ["folder"]}, "a name or a class_path"),
        ({"models": ["a"], "tasks": [{"class_path": "folder"}]}, "a name or a config"),
        ({"models": ["a"], "tasks": ["/data/folder"]}, "can be a file's name"),
        ({"models": ["a"], "tasks": ["folder"], "average_without": "folder"}, "to list tasks"),
        ({"models": ["a"], "tasks": ["folder"], "average_without": ["fold"]}, "to list tasks"),
        ({"models": ["a"], "tasks": ["folder"], "tolerance": "x"}, "to be a number"),
    ],
)
def test_boards_that_make_no_sense(content: dict, message: str, tmp_path: Path):
    path = tmp_path / "b.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError, match=message):
        read_board(str(path))


def test_whatever_was_asked_for_is_part_of_the_pair(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content = yaml.safe_load(spec.read_text())
    content["tasks"] = [{"name": "tree", "config": "folder"}]
    spec.write_text(yaml.safe_dump(content))
    seen = set()

    def now() -> None:
        pair = pairs(read_board(str(spec)), tmp_path)[0]
        seen.add(pair.result(pair.heads[1]))

    now()
    monkeypatch.setenv("DATA_ROOT", "/elsewhere")
    now()
    protocol = Path(content["protocol"])
    protocol.write_text(protocol.read_text().replace("steps: 20", "steps: 30"))
    now()
    content["heads"][1] = {**content["heads"][1], "name": "simpleshot(draws=3,shots=2)"}
    content["heads"][1]["init_args"]["shots"] = 4
    spec.write_text(yaml.safe_dump(content))
    now()
    assert len(seen) == 4


def test_files_that_a_kill_left_empty_are_made_again(spec: Path, finished: Path):
    for name in ("comparisons.json", "tree/broken-*/failed.json"):
        next(finished.glob(name)).write_text("")
    argv = ["leaderboard", "--config", str(spec), "--output", str(finished), "--device", "cpu", "--workers", "0"]
    assert main([*argv, "--no-run"]) == 0
    assert not standings(read_board(str(spec)), finished).tested
    assert main(argv) == 0
    assert standings(read_board(str(spec)), finished).tested


def test_damaged_results_cost_their_cells_and_are_made_again(spec: Path, finished: Path):
    results = sorted(path.parent for path in finished.glob("tree/*/*/results.json"))
    values = {folder: read_results(folder)["main"] for folder in results}
    assert len(results) == 4
    (results[0] / "results.json").write_text("[]")
    (results[1] / "bootstrap.npy").write_bytes(b"\x93NUMPY")
    (results[2] / "predictions.parquet").unlink()
    heads = bytearray((results[3] / "heads.safetensors").read_bytes())
    heads[-1] ^= 64
    (results[3] / "heads.safetensors").write_bytes(heads)
    argv = ["leaderboard", "--config", str(spec), "--output", str(finished), "--device", "cpu", "--workers", "0"]
    assert main([*argv, "--no-run"]) == 0
    cells = {
        cell.folder: cell for row in standings(read_board(str(spec)), finished).rows for cell in row.cells.values()
    }
    assert cells[results[2].relative_to(finished).as_posix()].value == values[results[2]]["mean"]
    assert main(argv) == 0
    assert {folder: read_results(folder)["main"] for folder in results} == values
    assert all(is_whole(folder) for folder in results)


@pytest.mark.parametrize(
    "content", [b"", b"\xa0{}", b"{}", b'{"schema": 1, "main": {}}', b'{"sha256": "0"}', b"null", b"[" * 5000]
)
def test_what_is_no_result_of_this_version_is_a_reason_in_its_cell(spec: Path, finished: Path, content: bytes):
    file = next(finished.glob("tree/colour_stats-*/linear/results.json"))
    file.write_bytes(content)
    rows = {(row.model, row.head): row for row in standings(read_board(str(spec)), finished).rows}
    assert str(file) in rows["colour_stats", "linear"].cells["tree"].reason
    assert rows["tiny_vit", "linear"].cells["tree"].value is not None


def test_a_protocol_beside_the_board_is_found_and_named(spec: Path):
    content = yaml.safe_load(spec.read_text())
    spec.write_text(yaml.safe_dump({**content, "protocol": "quick.yaml"}))
    board = read_board(str(spec))
    assert Path(board.protocol).is_file()
    assert standings(board, spec.parent / "nothing").protocol == "quick"


NUCLEI = {"config": "phantom_nuclei", "init_args": {"train": 5, "val": 4, "test": 8, "size": 64}}
MASKS = {"tile": 32, "overlap": 0, "steps": 4, "lr": 0.05, "empty": "ignore"}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A board without heads, finished: patches, nuclei, and nuclei scored by the wrong rule; and its folder."""
    folder = tmp_path_factory.mktemp("mixed")
    # a name that eva ships: only then does the string say what differs
    protocol = {"name": "strict", "steps": 20, "runs": 2, "lr": [0.05], "geometry": {"resize": 32, "crop": 32}}
    (folder / "quick.yaml").write_text(yaml.safe_dump({**protocol, "segmentation": MASKS}))
    patches = {"name": "patches", "config": "folder", "init_args": {"root": str(write_tree(folder / "tree"))}}
    wrong = {"name": "wrong", **NUCLEI, "protocol": {"segmentation": {"ignore": "prediction"}}}
    content = {"models": ["colour_stats", VIT32], "tasks": [patches, {"name": "nuclei", **NUCLEI}, wrong]}
    (folder / "board.yaml").write_text(yaml.safe_dump({**content, "protocol": "quick.yaml"}))
    out = folder / "out #1"
    argv = ["leaderboard", "--config", str(folder / "board.yaml"), "--output", str(out), "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVA_CACHE", str(folder / "cache"))
        assert main([*argv, "--workers", "0"]) == 0
    return folder / "board.yaml", out


def test_a_board_without_heads_takes_the_one_that_the_protocol_has_for_each_task(mixed: tuple[Path, Path]):
    found = standings(read_board(str(mixed[0])), mixed[1])
    assert [(row.model, row.head) for row in found.rows].count(("colour_stats", "default")) == 1
    for row in found.rows:
        assert {task: cell.head for task, cell in row.cells.items()} == {
            "patches": "linear",
            "nuclei": "linear_seg",
            "wrong": "linear_seg",
        }
        assert row.average is not None
        assert row.rank is not None
    lines = list(csv.DictReader((mixed[1] / "leaderboard.csv").open()))
    assert {(line["task"], line["head"], line["metric"]) for line in lines} == {
        ("patches", "linear", "balanced_accuracy"),
        ("nuclei", "linear_seg", "dice"),
        ("wrong", "linear_seg", "dice"),
    }


def test_masks_have_headroom_mpp_more_scores_and_pictures(mixed: tuple[Path, Path]):
    for row in standings(read_board(str(mixed[0])), mixed[1]).rows:
        cell = row.cells["nuclei"]
        content = json.loads((mixed[1] / cell.folder / "results.json").read_text())
        colour = content["baselines"]["colour_pixels"]["splits"]["test"]["metrics"]["dice"]["mean"]
        assert cell.headroom == pytest.approx((cell.value - colour) / (1 - colour))
        assert cell.mpp == 0.25
        assert cell.contamination["kind"] in ("none declared", "unknown")
        metrics = content["splits"]["test"]["metrics"]
        assert cell.extras == {name: metrics[name]["mean"] for name in ("iou", "aji", "pq")}
        assert [picture["which"] for picture in cell.pictures] == ["best", "median", "worst"]
        assert all((mixed[1] / picture["file"]).stat().st_size > 1000 for picture in cell.pictures)
        assert row.cells["patches"].pictures == []
        assert row.cells["patches"].extras == {}
    line = next(line for line in csv.DictReader((mixed[1] / "leaderboard.csv").open()) if line["task"] == "nuclei")
    assert 0 <= float(line["aji"]) <= 1
    assert 0 <= float(line["iou"]) <= float(line["value"])


def test_scores_by_the_wrong_rule_are_marked_wherever_they_stand(mixed: tuple[Path, Path]):
    row = standings(read_board(str(mixed[0])), mixed[1]).rows[0]
    assert "segmentation.ignore=prediction" in row.cells["wrong"].protocol
    assert "wrong" in row.cells["wrong"].remark
    assert row.cells["nuclei"].remark == ""
    lines = list(csv.DictReader((mixed[1] / "leaderboard.csv").open()))
    assert {line["task"] for line in lines if "chosen by the prediction" in line["remark"]} == {"wrong"}
    markdown = (mixed[1] / "leaderboard.md").read_text()
    assert markdown.count("‡") == 2 + 1
    assert "‡ Pixels to ignore were chosen by the prediction" in markdown
    latex = (mixed[1] / "leaderboard.tex").read_text()
    assert latex.count(r"$^\ddagger$") == 2 + 1
    assert r"\multicolumn{7}{l}{$^\ddagger$ Pixels" in latex
    assert "‡" not in latex


def test_what_a_task_changes_of_the_protocol_is_another_pair_with_its_own_string(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = {pair.task: pair for pair in pairs(read_board("segmentation"), tmp_path) if pair.model == "uni"}
    assert found["monusac"].config["protocol"] == {"segmentation": {"ignore": "prediction"}}
    assert found["consep"].config["protocol"] == "eva-0.4"
    tree_of_monusac(tmp_path / "monusac")
    monkeypatch.setattr(Monusac, "counts", {})
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    asked = tmp_path / "asked.yaml"
    asked.write_text(yaml.safe_dump({**found["monusac"].config, "model": {"class_path": "colour_stats"}}))
    built = parse("fit", ["--protocol", found["monusac"].protocol, "--config", str(asked)])
    by_flag = ["--protocol", "eva-0.4", "--protocol.segmentation.ignore", "prediction"]
    same = parse("fit", ["--config", "monusac", "--model", "colour_stats", *by_flag])
    assert built.protocol == same.protocol
    string = resolve(built.protocol, built.dataset.card, "conv_seg_image").title
    assert string == "eva-0.4+segmentation.ignore=prediction"
    values = published_values()
    assert values["uni", "monusac", "val", "dice"] == {string: 0.659, "midnight-2025": 0.662}
    assert values["uni", "consep", "val", "dice"]["eva-0.4"] > 0


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"segmentation": {"ignor": "prediction"}}, "segmentation.ignor"),
        ({"segmentation": {"ignore": "predictions"}}, "but got predictions"),
        ({"step": 5}, "'step'"),
        ("strict", "a mapping of fields that differ, but got 'strict'"),
    ],
)
def test_changes_of_a_protocol_that_make_no_sense(protocol: object, message: str, tmp_path: Path):
    path = tmp_path / "b.yaml"
    task = {"name": "nuclei", **NUCLEI, "protocol": protocol}
    path.write_text(yaml.safe_dump({"models": ["colour_stats"], "tasks": [task]}))
    with pytest.raises(UsageError, match=message):
        check(read_board(str(path)))


def test_a_board_without_tasks_has_those_whose_configs_name_it():
    tasks = [task.name for task in read_board("patch").tasks]
    assert len(tasks) == 8
    assert {"bach", "crc", "mhist", "pcam", "breakhis", "gleason", "bracs"} < set(tasks)


@pytest.mark.parametrize("name", [path.stem for path in sorted((shipped("configs") / "boards").glob("*.yaml"))])
def test_every_shipped_board_could_run(name: str, tmp_path: Path):
    board = read_board(name)
    check(board)
    assert len(pairs(board, tmp_path)) == len(board.models) * len(board.tasks)
