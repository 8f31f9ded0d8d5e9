"""`--config NAME` for each public dataset."""

import json
from pathlib import Path

import pytest
import yaml

from eva_core.cli import main
from eva_core.config.files import BOARDS, PUBLISHED, find_config
from tests.vision.datasets import trees

CONFIGS = Path(__file__).parents[3] / "configs" / "tasks"


def test_every_dataset_has_a_config_and_every_config_a_dataset():
    assert sorted(path.stem for path in CONFIGS.iterdir()) == trees.NAMES


def test_boards_and_protocols_that_a_config_names_are_shipped():
    for name in trees.NAMES:
        config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        for board in config.get(BOARDS, []):
            assert find_config(board).parent.name == "boards"
        for protocol in config.get(PUBLISHED, {}):
            assert find_config(protocol).parent.name == "protocols"


@pytest.mark.parametrize("name", trees.NAMES)
def test_a_config_is_short_and_names_a_dataset_and_no_model(name: str):
    text = (CONFIGS / f"{name}.yaml").read_text()
    assert len(text.splitlines()) <= 12
    config = yaml.safe_load(text)
    assert {"dataset", "protocol"} <= config.keys() <= {"dataset", "protocol", BOARDS, PUBLISHED}
    if trees.module_of(name) is None:  # drawn, not read
        assert config["dataset"] == name
        return
    same_files = (
        "hest"
        if name.startswith("hest_")
        else name.removesuffix("_small").removesuffix("_slides").removesuffix("_votes")
    )  # hundreds of GB that nobody keeps twice
    below = "" if "folder" in name else f"/{same_files}"
    assert config["dataset"] == {"class_path": name, "init_args": {"root": f"${{oc.env:DATA_ROOT,data}}{below}"}}


@pytest.mark.parametrize(("name", "reported"), [("mhist", {"val"}), ("pcam", {"val", "test"})])
def test_eva_fit_by_config(name: str, reported: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    test = trees.module_of(name)
    trees.patch_counts(monkeypatch, name, test)
    test.tree(tmp_path / name)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    short = ["--protocol.steps", "5", "--protocol.runs", "2"]
    argv = [
        "fit",
        "--config",
        name,
        "--model",
        "colour_stats",
        "--device",
        "cpu",
        *short,
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(argv) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["identity"]["dataset"] == name
    assert results["splits"].keys() == reported


def test_eva_fit_on_data_that_are_not_there_ends_in_a_line(capsys: pytest.CaptureFixture[str]):
    assert main(["fit", "--config", "bracs", "--model", "colour_stats"]) == 2
    error = capsys.readouterr().err
    assert "bracs.icar.cnr.it" in error
    assert len(error.strip().splitlines()) == 1
