"""What a study may ask, and how it is told otherwise."""

import pytest

from eva_core.config.files import shipped
from eva_core.errors import UsageError
from eva_pretrain.studies.study import Variant, read_study
from tests.pretrain.studies.conftest import PHANTOM

SHIPPED = sorted(path.stem for path in (shipped("configs") / "studies").glob("*.yaml"))


def test_the_questions_of_the_paper_are_there():
    assert set(SHIPPED) == {"magnification", "initialisation", "slides", "patches", "patching", "size"}
    for name in SHIPPED:
        study = read_study(name)
        assert (study.name, study.base, study.protocol, study.seeds) == (name, "dino_vits16", "strict", 3)
        assert {task.side for task in study.tasks} == {"in_distribution", "out_of_distribution"}
        assert study.tasks[0].dataset["class_path"] == "tp53"
    patches = {v.name: v for v in read_study("patches").variants}
    assert patches["0"] == Variant("0", {}, untrained=True)
    assert patches["10,000"].changes == {"sampling": {"distinct": 10_000}}


def test_names_become_parts_of_file_names():
    assert [Variant(name, {}).slug for name in ("S/16", "10 %", "1,000 cut", "../..", "%")] == [
        "s-16",
        "10",
        "1-000-cut",
        "variant",
        "variant",
    ]


def test_a_command_line_changes_base_seeds_and_tasks(study_file):
    chosen = {"in_distribution": ["phantom"], "out_of_distribution": ["phantom_nuclei"]}
    study = read_study(str(study_file()), base="dino_vits8", seeds=5, tasks=chosen)
    assert (study.base, study.seeds, study.against) == ("dino_vits8", 5, "short")
    assert [(t.name, t.side) for t in study.tasks] == [
        ("phantom", "in_distribution"),
        ("phantom_nuclei", "out_of_distribution"),
    ]


def test_tasks_have_arguments_and_names(study_file):
    entries = [PHANTOM, {"name": "other", "config": "phantom", "init_args": {"seed": 1}}]
    tasks = read_study(str(study_file(tasks={"in_distribution": entries}))).tasks
    assert [task.name for task in tasks] == ["phantom(size=32,test=16,train=16,val=4)", "other"]
    assert tasks[1].dataset == {"class_path": "phantom", "init_args": {"seed": 1}}


def test_few_seeds_must_be_asked_for(study_file):
    with pytest.raises(UsageError, match="Expected at least 3 seeds, but got 2"):
        read_study(str(study_file(seeds=2)))
    with pytest.raises(UsageError, match="Give --few_seeds"):
        read_study(str(study_file()), seeds=1)
    assert read_study(str(study_file(seeds=2, few_seeds=True))).seeds == 2
    assert read_study(str(study_file()), seeds=1, few_seeds=True).seeds == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"varients": {}}, "varients is unknown"),
        ({"variants": None}, "variants is missing"),
        ({"variants": ["a", "b"]}, "as a mapping of names"),
        ({"variants": {"a": 3}}, "variant a in .* as a mapping, but got 3"),
        ({"variants": {"a": {"untrained": "yes"}}}, "untrained of variant a"),
        ({"variants": {"a": {"cut": 0}}}, "cut of variant a"),
        ({"variants": {"a": {"cut": 5, "untrained": True}}}, "cut of variant a"),
        ({"against": "nobody"}, "against in .* 'nobody'"),
        ({"seeds": "three"}, "seeds to be a number"),
        ({"tasks": ["phantom"]}, "lists under in_distribution and out_of_distribution"),
        ({"tasks": {"in_distribution": "phantom"}}, "to be a list of tasks"),
        ({"tasks": {"in_distribution": []}}, "there is none"),
        ({"tasks": {"in_distribution": ["phantom"], "out_of_distribution": ["phantom"]}}, "phantom stands twice"),
        ({"tasks": {"in_distribution": ["phantoom"]}}, "Unknown dataset 'phantoom'. Did you mean phantom"),
        ({"tasks": {"in_distribution": ["strict"]}}, "'strict' has none"),
        ({"tasks": {"in_distribution": [{"init_args": {}}]}}, "a config or a class_path"),
        ({"tasks": {"in_distribution": [{**PHANTOM, "name": "a/b"}]}}, "can be a file's name"),
    ],
)
def test_a_bad_study_is_one_line(study_file, changes, said):
    with pytest.raises(UsageError, match=said) as caught:
        read_study(str(study_file(**changes)))
    assert "\n" not in str(caught.value)
