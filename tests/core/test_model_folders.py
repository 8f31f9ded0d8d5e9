"""A model by the folder of its export, wherever a model is named on a command line or in a configuration."""

import json
from pathlib import Path

import pytest
import yaml

from eva_core.boards.board import pairs, read_board
from eva_core.cli import main
from eva_core.config.files import read_yaml
from eva_core.config.parser import parse
from eva_core.contracts.cards import ModelCard
from eva_core.errors import UsageError
from eva_core.evaluation.contamination import salted, seen
from eva_core.registry import build_model, is_folder
from eva_pretrain.run.export import ExportDetails, export
from eva_vision.models.timm import timm_model

NAME = "tiny-3f2a91c0"
QUICK = ["--protocol.steps", "20", "--protocol.runs", "2", "--device", "cpu", "--workers", "0"]


def write(folder: Path, seen: tuple[tuple[str, str | None], ...] = ()) -> Path:
    network = timm_model("test_vit", depth=2).network  # type: ignore[attr-defined]
    return export(
        folder,
        network.state_dict(),
        "test_vit",
        {"depth": 2},
        ExportDetails(
            name=NAME,
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            size=32,
            mpp=(0.5, 0.5),
            config="",
            step=7,
            seen=seen,
        ),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "run" / "export")


def test_what_is_a_folder_and_what_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("export", "uni", "my.package.model"):
        (tmp_path / name).mkdir()
    assert is_folder("export")
    assert is_folder("nothing/there")
    assert is_folder("./uni")
    assert not is_folder("uni")  # a registered name wins
    assert not is_folder("no_such_model")
    assert not is_folder("eva_vision.models.timm.timm_model")
    assert not is_folder('{"class_path": "timm_model", "init_args": {"checkpoint": "/a/b.pth"}}')
    assert not is_folder('{"class_path": "' + "long" * 100 + '"}')


@pytest.mark.parametrize("joined", [True, False])
def test_the_command_line(folder: Path, joined: bool):
    given = [f"--model={folder}"] if joined else ["--model", str(folder)]
    asked = parse("fit", [*given, "--dataset", "phantom"])
    assert asked.backbone.name == asked.backbone.card.name == NAME
    assert yaml.safe_load(asked.config)["model"]["init_args"] == {"folder": str(folder)}


def test_a_folder_and_a_name_override_each_other(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RUNS", str(folder.parent))
    config = tmp_path / "config.yaml"
    config.write_text("model: ${oc.env:RUNS}/export\ndataset: phantom\n")
    assert parse("fit", ["--config", str(config)]).backbone.name == NAME
    assert parse("fit", ["--config", str(config), "--model", "colour_stats"]).backbone.name == "colour_stats"
    assert parse("fit", ["--config", str(config), "--model", str(folder)]).backbone.name == NAME


def test_fit_and_predict_from_a_folder_beside_us(tree: Path, folder: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent)
    data = ["--dataset", "folder", "--dataset.root", str(tree)]
    assert main(["fit", "--model", "export", *data, *QUICK]) == 0
    result = Path("out/folder") / NAME  # where results lie unless told otherwise
    content = json.loads((result / "results.json").read_text())
    assert content["identity"]["model"] == NAME
    assert content["identity"]["weights_sha256"]
    assert content["card"]["mpp"] == [0.5, 0.5]
    assert content["contamination"] == {"kind": "unknown"}
    assert read_yaml(result / "config.yaml")["model"]["init_args"] == {"folder": "export"}
    assert main(["fit", "--model", str(folder), *data, *QUICK]) == 0  # the same by another path
    assert "Already done" in capsys.readouterr().err
    assert main(["predict", "--head", str(result), *data[:2], "--dataset.root", str(tree), "--output", "p"]) == 0


def test_another_export_of_the_run_is_another_result(tree: Path, folder: Path, capsys: pytest.CaptureFixture):
    data = ["--dataset", "folder", "--dataset.root", str(tree), "--output", "result", *QUICK]
    assert main(["fit", "--model", str(folder), *data]) == 0
    network = timm_model("test_vit", depth=2).network  # type: ignore[attr-defined]
    weights = {k: v + 0.01 for k, v in network.state_dict().items()}
    given = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "size": 32, "mpp": None, "config": "", "step": 8, "seen": ()}
    export(folder, weights, "test_vit", {"depth": 2}, ExportDetails(name=NAME, **given))
    capsys.readouterr()
    assert main(["fit", "--model", str(folder), *data]) == 2
    assert "weights_sha256" in capsys.readouterr().err


def test_compare_calls_it_by_its_run(tree: Path, folder: Path, capsys: pytest.CaptureFixture):
    data = ["--dataset", "folder", "--dataset.root", str(tree), *QUICK]
    for output, model in (("a", str(folder)), ("b", "colour_stats")):
        assert main(["fit", "--model", model, *data, "--output", output]) == 0
    capsys.readouterr()
    assert main(["compare", "a", "b"]) == 0
    assert NAME in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("no/such/folder", "no/such/folder is not a folder"),
        ("timm/vit_small", "Give its folder, or a name of `eva models`"),
        (".", "has no card.json"),
        ("dinov2_vits14", "Unknown model 'dinov2_vits14'"),
    ],
)
def test_a_folder_that_is_none_is_one_line(model: str, message: str, capsys: pytest.CaptureFixture):
    assert main(["fit", "--model", model, "--dataset", "phantom"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_salted_ids_are_found_by_whoever_has_them():
    card = ModelCard("m", training_ids=("p3", salted("s1", "aa"), salted("p2", "aa"), salted("p4", "bb")))
    ids, groups = ["s0", "s1", "s2", "s3", "s4"], ["", "p1", "p2", "p3", "p4"]
    assert seen(card, ids, groups).tolist() == [False, True, True, True, True]
    assert not any(name in card.training_ids for name in ("s1", "p2", "p4"))


def test_a_dataset_of_slides_that_were_trained_on_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture):
    patients = (("test_patient_000", None), ("slide.svs", "test_patient_001"))
    folder = write(tmp_path / "export", patients)
    data = ["--dataset", "phantom", "--dataset.train", "16", "--dataset.val", "8", "--dataset.test", "24"]
    assert main(["fit", "--model", str(folder), *data, "--dataset.size", "32", *QUICK, "--output", "out"]) == 0
    mark = json.loads(Path("out/results.json").read_text())["contamination"]
    assert (mark["kind"], mark["n_seen"], mark["unseen"]["n"]) == ("exact", 16, 8)
    assert "the model was trained on 16 of these images" in capsys.readouterr().out


def test_the_card_of_a_folder_is_shown(folder: Path, capsys: pytest.CaptureFixture):
    write(folder, tuple((f"TCGA-AA-000{n}-01Z-00-DX1", None) for n in range(9)))
    assert main(["models", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{NAME}  ({folder})")
    assert "dim            64" in out
    assert "mpp            [0.5, 0.5]" in out
    assert "and 13 more" in out  # of slides and patients
    assert main(["models", "no/such"]) == 2
    assert "no/such is not a folder" in capsys.readouterr().err


def test_python_takes_a_folder_too(folder: Path):
    assert build_model(str(folder)).name == NAME
    assert build_model("colour_stats").name == "colour_stats"


def test_a_result_does_not_repeat_the_list_of_slides(tree: Path, tmp_path: Path):
    folder = write(tmp_path / "export", tuple((f"slide {n}", None) for n in range(50)))
    data = ["--dataset", "folder", "--dataset.root", str(tree), "--output", "result", *QUICK]
    assert main(["fit", "--model", str(folder), *data]) == 0
    assert "salted" not in Path("result/results.json").read_text()


def test_a_profile_never_writes_into_the_export(tree: Path, folder: Path):
    config = Path("task.yaml")
    dataset = {"class_path": "folder", "init_args": {"root": str(tree), "mpp": 0.5}}
    protocol = {"name": "quick", "steps": 20, "runs": 2}
    Path("quick.yaml").write_text(yaml.safe_dump(protocol))
    config.write_text(yaml.safe_dump({"dataset": dataset, "protocol": "quick.yaml"}))
    before = sorted(folder.iterdir())
    assert main(["profile", "--config", str(config), "--model", str(folder), "--mpp", "0.5", "--output", "p"]) == 0
    assert sorted(folder.iterdir()) == before
    assert list(json.loads(Path("p/profile.json").read_text())["curves"]) == [NAME]
    assert Path("p", NAME, "0.5", "results.json").exists()


@pytest.mark.parametrize("name", [None, "ours"])
def test_a_board_of_a_folder(tree: Path, folder: Path, name: str | None):
    Path("quick.yaml").write_text(yaml.safe_dump({"name": "quick", "steps": 20, "runs": 2}))
    model = str(folder) if name is None else {"name": name, "class_path": str(folder)}
    task = {"name": "tree", "config": "folder", "init_args": {"root": str(tree)}}
    board = {"models": ["colour_stats", model], "tasks": [task], "protocol": "quick.yaml"}
    Path("board.yaml").write_text(yaml.safe_dump(board))
    asked = ["leaderboard", "--config", "board.yaml", "--output", "out", "--device", "cpu", "--workers", "0"]
    assert main(asked) == 0
    lines = Path("out/leaderboard.csv").read_text().splitlines()
    assert {line.partition(",")[0] for line in lines[1:]} == {"colour_stats", name or NAME}
    (before,) = Path("out/tree").glob(f"{name or NAME}-*")
    write(folder)  # another export in the same place is another pair
    assert str(before) not in {str(pair.folder) for pair in pairs(read_board("board.yaml"), Path("out"))}


def test_a_folder_of_a_board_that_is_gone_needs_a_name():
    Path("board.yaml").write_text(yaml.safe_dump({"models": ["gone/export"], "tasks": ["folder"]}))
    with pytest.raises(UsageError, match="Give it a `name`"):
        read_board("board.yaml")
