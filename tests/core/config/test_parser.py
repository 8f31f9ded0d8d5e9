import pytest

from eva_core.config.parser import Names, class_path, component, expand_yaml, parse
from eva_core.errors import UsageError

EXPORTED = "eva_vision.models.exported.exported"


def test_class_paths_and_other_kinds_stay_as_they_are():
    assert component("model", "a.b.c", Names()) == {"class_path": "a.b.c"}
    assert component("model", "colour_stats", Names()) == {"class_path": "eva_vision.models.baselines.colour_stats"}
    assert component("head", "some/thing", Names()) == {"class_path": "some/thing"}
    assert class_path("dataset", "./x") == "./x"


@pytest.mark.parametrize("content", ["out/export", {"class_path": "out/export"}])
def test_yaml_names_a_folder_as_it_names_a_model(content):
    expected = {"class_path": EXPORTED, "init_args": {"folder": "out/export"}}
    assert expand_yaml({"model": content}, Names())["model"] == expected


def test_yaml_keeps_arguments_and_interpolations():
    given = {"class_path": "${oc.env:OUT}/export", "dict_kwargs": {"a": 1}}
    assert expand_yaml({"model": given}, Names())["model"] == {
        "class_path": EXPORTED,
        "init_args": {"folder": "${oc.env:OUT}/export"},
        "dict_kwargs": {"a": 1},
    }
    named = {"class_path": "random_vits16", "init_args": {"depth": 2}}
    assert expand_yaml({"model": named}, Names())["model"]["init_args"] == {"depth": 2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--protocl.batch_size=3"], "Did you mean --protocol.batch_size?"),
        (["--batchsize", "3"], "Did you mean --protocol.batch_size?"),
        (["--no_such_thing", "3"], "See `eva fit --help`."),
        (["--config=dinov2_tiny_cpu"], "It is no setting of `eva fit`: the config may be one of another command."),
        (["--output="], "Expected a folder after --output, but got ''."),
        (["--protocol.lr=[.nan]"], "Expected a number for --protocol.lr, but got nan."),
        (["--dataset=phantom", "--dataset.trian=4"], "`eva datasets phantom` lists its arguments."),
    ],
)
def test_a_wrong_word_is_told_what_it_is_near_to(words, said):
    with pytest.raises(UsageError) as error:
        parse("fit", ["--dataset", "phantom", *words])
    assert said in str(error.value)
