"""The runs that a study comes to."""

import pytest
import yaml

from eva_core.errors import UsageError
from eva_pretrain.run.config import parse
from eva_pretrain.studies.plan import plan_runs
from eva_pretrain.studies.study import read_study
from tests.pretrain.studies.conftest import TINY
from tests.pretrain.studies.test_study import SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_variant_parses_and_differs(name, index, tmp_path):
    study = read_study(name)
    runs = plan_runs(study, ["--slides", str(index.folder)], tmp_path)
    assert len({run.folder for run in runs}) == len(runs)
    counts = {v.name: sum(run.variant is v for run in runs) for v in study.variants}
    for variant in study.variants:  # a start that was made elsewhere is the same for every seed
        same = variant.untrained and variant.changes.get("vit", {}).get("start", "") is not None
        assert counts[variant.name] == (1 if same else 3)
    plans = [parse(list(run.arguments)) for run in runs]
    settings = {  # patches are cut, and what is not trained is exported, from a run of the same key
        (plan.key, run.variant.cut, run.variant.untrained)
        for plan, run in zip(plans, runs, strict=True)
        if plan.setup.seed == 1
    }
    assert len(settings) == sum(n == 3 for n in counts.values())
    if name == "size":
        assert {plan.data.batch_size * plan.training.accumulate for plan in plans} == {256}


def test_a_variant_overrides_the_flags_and_these_the_base(study_file, patches, tmp_path):
    study = read_study(str(study_file()))
    runs = plan_runs(study, [*TINY[2:], "--folder", str(patches)], tmp_path / "out")
    assert [(r.variant.name, r.seed) for r in runs[:3]] == [("short", 0), ("long", 0), ("short", 1)]
    steps = [(p.setup.recipe.steps, p.setup.seed) for p in (parse(list(run.arguments)) for run in runs)]
    assert steps == [(2, 0), (3, 0), (2, 1), (3, 1), (2, 2), (3, 2)]


def test_what_does_not_decide_the_weights_does_not_move_a_run(study_file, patches, tmp_path):
    study = read_study(str(study_file()))
    flags = [*TINY[2:], "--folder", str(patches)]
    folders = [
        [run.folder for run in plan_runs(study, [*flags, *more], tmp_path / "out")]
        for more in ([], ["--data.workers", "1"], ["--recipe.lr", "0.1"])
    ]
    assert folders[0] == folders[1]
    assert not set(folders[0]) & set(folders[2])


def test_which_weights_are_exported_moves_a_run(study_file, patches, tmp_path):
    study = read_study(str(study_file(variants={"v": {}})))
    flags = [*TINY[2:], "--folder", str(patches), "--dataset", "phantom"]
    best = ["--export.checkpoint", "best"]
    asked = (
        [],
        ["--export.weights", "student"],
        best,
        [*best, "--monitor.every", "1"],
        [*best, "--dataset", "phantom_nuclei"],
    )
    folders = [plan_runs(study, [*flags, *more], tmp_path / "out")[0].folder for more in asked]
    assert len({*folders}) == len(asked)
    assert plan_runs(study, [*flags, "--monitor.every", "1"], tmp_path / "out")[0].folder == folders[0]


def test_batches_move_a_cut_only_where_they_decide_its_patches(study_file, index, tmp_path):
    study = read_study(str(study_file(variants={"v": {"cut": 5}})))
    flags = [*TINY[2:], "--slides", str(index.folder)]

    def cut_to(*more: str):
        return plan_runs(study, [*flags, *more], tmp_path / "out")[0].cut_to

    assert cut_to() == cut_to("--batch_size", "8")
    regions = ("--sampling.per_window", "2")
    assert len({cut_to(), cut_to(*regions), cut_to(*regions, "--batch_size", "8")}) == 3


def test_a_reason_is_read_though_there_is_an_export(study_file, patches, tmp_path):
    study = read_study(str(study_file()))
    run = plan_runs(study, [*TINY[2:], "--folder", str(patches)], tmp_path / "out")[0]
    run.export.mkdir(parents=True)
    (run.export / "card.json").touch()
    (run.folder / "failed.json").write_text('{"reason": "the machine went away"}')
    assert run.trained
    assert run.failure == "the machine went away"


def test_distinct_patches_of_a_folder_are_its_limit(study_file, patches, tmp_path):
    study = read_study(str(study_file(variants={"5": {"sampling": {"distinct": 5}}, "all": {}})))
    runs = plan_runs(study, [*TINY[2:], "--folder", str(patches)], tmp_path / "out")
    plan = parse(list(runs[0].arguments))
    assert (plan.data.limit, plan.sampling.distinct) == (5, None)


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"sampling": {"mpp": [0.5]}}, "Variant v: Expected --slides for a variant with sampling.mpp"),
        ({"cut": 5}, "Variant v: Expected --slides for a variant with cut"),
        ({"recipe": {"stepps": 5}}, "Variant v: .*stepps"),
        ({"vit": {"arch": 3.5}}, "Variant v: "),
    ],
)
def test_a_variant_that_cannot_be_is_refused_before_anything_runs(study_file, patches, tmp_path, variant, said):
    study = read_study(str(study_file(variants={"v": variant})))
    with pytest.raises(UsageError, match=said):
        plan_runs(study, [*TINY[2:], "--folder", str(patches)], tmp_path / "out")
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize("flag", ["--seed=3", "--name=x"])
def test_flags_that_a_study_sets_itself_are_refused(study_file, tmp_path, flag):
    with pytest.raises(UsageError, match=f"Expected no {flag[:6]}"):
        plan_runs(read_study(str(study_file())), [flag], tmp_path)


def test_slides_are_indexed_once_for_all_runs(study_file, slides, tmp_path, monkeypatch):
    study = read_study(str(study_file()))
    runs = plan_runs(study, [*TINY[2:], "--slides", f"{slides}/*.svs"], tmp_path / "out")
    used = {parse(list(run.arguments)).data.slides for run in runs}
    assert len(used) == 1
    assert used.pop().startswith(str(tmp_path / "out" / "slides"))
    assert yaml.safe_load(next((tmp_path / "out/variants").glob("long-*.yaml")).read_text()) == {"recipe": {"steps": 3}}
