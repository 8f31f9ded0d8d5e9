"""The configuration of a result is data: nothing of it is imported, called, looked up or asked for."""

import sys

import pytest
import yaml

from eva_core.cli import main
from eva_core.config.parser import Names, expand, parse
from eva_core.config.result_config import as_written, came_with_a_result, literal, read_result_config
from eva_core.errors import UsageError

PARTS = {
    "model": {"class_path": "eva_vision.models.baselines.colour_stats"},
    "dataset": {"class_path": "eva_vision.datasets.folder.Folder", "init_args": {"root": "/data/x"}},
    "head": None,
    "protocol": {"name": "eva-0.4", "transform": "eva_vision.transforms.resize_and_crop"},
}


@pytest.fixture
def result(tmp_path):
    """Writes the configuration of a result that holds other parts than usual."""

    def write(**parts):
        folder = tmp_path / "result"
        folder.mkdir(exist_ok=True)
        (folder / "results.json").write_text("{}")
        (folder / "config.yaml").write_text(yaml.safe_dump({**PARTS, **parts}))
        return folder / "config.yaml"

    return write


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A module that no package of eva registers, and the file that its import leaves."""
    ran = tmp_path / "ran"
    (tmp_path / "not_of_eva.py").write_text(f"open({str(ran)!r}, 'w')\ndef build(*args, **kwargs): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield ran
    sys.modules.pop("not_of_eva", None)


FOREIGN = [
    {"model": {"class_path": "not_of_eva.build"}},
    {"model": "not_of_eva.build"},
    {"model": '{"class_path": "not_of_eva.build"}'},
    {"dataset": {"class_path": "not_of_eva.build", "init_args": {"root": "x"}}},
    {"head": {"class_path": "not_of_eva.build"}},
    {"head": {"init_args": {"class_path": "not_of_eva.build"}}},
    {"method": {"class_path": "not_of_eva.build"}},
    {"logger": {"class_path": "not_of_eva.build"}},
    {"logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "/elsewhere"}}},
    {"model": {**PARTS["model"], "init_args": {"inner": {"class_path": "not_of_eva.build"}}}},
    {"model": {**PARTS["model"], "init_args": {"inner": "{class_path: not_of_eva.build}"}}},
    {"model": {**PARTS["model"], "dict_kwargs": {"inner": [{"class_path": "not_of_eva.build"}]}}},
    {"protocol": {**PARTS["protocol"], "transform": "not_of_eva.build"}},
    {"protocol": "/somebody/else.yaml"},
]


@pytest.mark.parametrize("parts", FOREIGN, ids=str)
def test_what_nobody_registered_is_refused_and_not_imported(result, foreign, parts):
    with pytest.raises(UsageError, match=r"^Refused .* of .*config\.yaml"):
        read_result_config(result(**parts))
    assert main(["fit", "--config", str(result(**parts))]) == 2
    assert not foreign.exists()


@pytest.mark.parametrize("parts", [{"model": {"class_path": "not_of_eva.build"}}, {"protocol": {"transform": "a.b"}}])
def test_what_is_trusted_is_taken(result, parts):
    found = read_result_config(result(**parts), trust=True)
    assert found | parts == found
    words = expand(["--config", str(result()), "--trust"], Names())
    assert "--trust" not in words


def test_addresses_of_a_result_are_not_asked(result):
    model = {"class_path": "timm_model", "init_args": {"arch": "test_vit", "checkpoint": "http://127.0.0.1:9/w?sig=s3"}}
    with pytest.raises(UsageError, match=r"Refused model .* 'http://127\.0\.0\.1:9/w'") as error:
        read_result_config(result(model=model))
    assert "s3" not in str(error.value)
    given = read_result_config(result(model=model), given={"--model.checkpoint"})
    assert given["model"]["init_args"] == {"arch": "test_vit"}
    hub = {**model, "init_args": {"arch": "test_vit", "checkpoint": "hf-hub:owner/name"}}
    assert read_result_config(result(model=hub))["model"] == hub


def test_a_result_says_not_where_another_is_written(result, tmp_path):
    assert "output" not in read_result_config(result(output=str(tmp_path / "elsewhere")))


def test_a_result_is_data_also_as_the_task_of_a_board_a_study_or_a_profile(result, foreign, tmp_path):
    config = result(dataset={"class_path": "not_of_eva.build"})
    board = {"models": ["colour_stats"], "tasks": [{"name": "t", "config": str(config)}]}
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(board))
    study = {"base": "demo", "variants": {"a": {}}, "tasks": {"in_distribution": [str(config)]}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    base = {**study, "base": str(config), "tasks": {"in_distribution": ["phantom"]}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    output = ["--output", str(tmp_path / "out")]
    assert main(["leaderboard", "--config", str(tmp_path / "board.yaml"), *output]) == 2
    assert main(["study", "--config", str(tmp_path / "study.yaml"), *output]) == 2
    assert main(["study", "--config", str(tmp_path / "base.yaml"), *output]) == 2
    assert main(["profile", "--config", str(config), "--model", "colour_stats", *output]) == 2
    assert not foreign.exists()


def test_a_part_that_the_command_line_names_is_not_taken(result):
    path = result(model={"class_path": "not_of_eva.build"}, protocol={"transform": "not_of_eva.f"})
    given = {"--model", "--protocol.transform"}
    assert "model" not in read_result_config(path, given)
    assert read_result_config(path, given)["protocol"] == {}


@pytest.mark.parametrize("text", ["${oc.env:SECRET}", "a${x", r"\${oc.env:SECRET}", r"\\${oc.env:SECRET}\ $", "$${a}"])
def test_an_interpolation_in_a_result_or_on_the_command_line_is_text(result, tree, monkeypatch, text):
    monkeypatch.setenv("SECRET", "hf_1234")
    named = tree.rename(tree.with_name(text))
    path = result(dataset={**PARTS["dataset"], "init_args": {"root": str(named)}})
    assert str(parse("predict", ["--config", str(path)]).dataset.root) == str(named)
    words = ["--model", "colour_stats", "--dataset", "folder", "--dataset.root", str(named)]
    assert str(parse("predict", words).dataset.root) == str(named)


def test_a_config_of_the_user_reads_the_environment(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tree))
    assert str(parse("predict", ["--config", "folder", "--model", "colour_stats"]).dataset.root) == str(tree)
    own = tmp_path / "config.yaml"
    own.write_text("model: colour_stats\ndataset: {class_path: folder, init_args: {root: '${oc.env:DATA_ROOT}'}}\n")
    assert not came_with_a_result(own)
    assert str(parse("predict", ["--config", str(own)]).dataset.root) == str(tree)


def test_what_is_literal_is_none_of_omegaconf_s_and_comes_back():
    from omegaconf import OmegaConf

    for text in ("plain", r"\ ${a}", r"a\\${b}${c}\\", "}${"):
        kept = OmegaConf.to_container(OmegaConf.create({"k": literal(text)}), resolve=True)
        assert as_written(kept) == {"k": text}


def test_a_few_lines_that_stand_for_billions_are_refused(result):
    path = result()
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match="over 20,000 values"):
        read_result_config(path)
