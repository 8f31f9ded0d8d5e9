import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eva_core import registry
from eva_core.api import apply_heads, apply_job, fit, fit_job
from eva_core.cli import main
from eva_core.config.jobs import job_of
from eva_core.config.protocols import heads_of
from eva_core.curves.curve import Plan, curve
from eva_core.errors import UsageError
from eva_core.job import Job
from eva_core.task import task_named
from eva_vision.datasets.slide_folder import SlideFolder
from eva_vision.slide_level.bags.places import Places
from eva_vision.slide_level.manifest import TASKS
from tests.vision.slide_level.conftest import HOW, quick, relabelled, write_manifest


def silent(line: str) -> None:
    """Nobody listens."""


def test_a_score_by_patient_with_its_nulls(job: Job, tmp_path: Path):
    results = fit_job(replace(job, output=tmp_path / "out"), silent)
    assert results["main"]["split"] == "cv"
    split = results["splits"]["cv"]
    assert (split["n"], split["n_groups"], split["interval"]) == (10, 10, "group")
    assert results["main"]["mean"] == 1.0  # the colour tells the label, and the model is colour
    assert set(results["baselines"]) == {"metadata"}  # the model is the other null
    assert results["baselines"]["metadata"]["splits"]["cv"]["metrics"]["balanced_accuracy"]["mean"] < 0.9
    assert results["report"] == {"slides": 12, "patches": 72, "without_tissue": []}
    assert {selected["fold"] for selected in results["selected"]} == {0, 1, 2}
    scores = task_named("slide_classification").read(tmp_path / "out", "cv")
    assert sorted(scores.ids) == sorted(s.id for s in job.dataset.samples)


def test_given_splits_are_kept_and_heads_apply_to_others(slides: Path, tmp_path: Path, job: Job):
    splits = ["train"] * 6 + ["test"] * 4
    rows = [
        {"slide": str(slides / f"s{n:02d}.tif"), "patient": f"q{n}", "label": "ab"[n % 2], "split": splits[n]}
        for n in range(10)
    ]
    write_manifest(tmp_path, rows)
    own = replace(job, dataset=SlideFolder(str(tmp_path)), output=tmp_path / "out")
    results = fit_job(own, silent)
    assert (results["main"]["split"], results["main"]["mean"]) == ("test", 1.0)
    applied = apply_job(tmp_path / "out", replace(job, output=tmp_path / "applied"), silent)
    assert applied.name == "predictions.parquet"
    drawn = curve([own], Plan((0.7,), 1, tmp_path / "curve"), silent)
    assert drawn["shares"] == [{"share": 0.7, "n": [4], "n_groups": [4]}]
    assert drawn["models"][0]["points"][0]["values"][0] is not None


def test_from_the_command_line(slides: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    small = {"mpp": 1.0, "size": 64, "patches": 6, "epochs": 3, "runs": 2, "folds": 3}
    flags = [f for name, value in small.items() for f in (f"--protocol.slide_classification.{name}", str(value))]
    out = tmp_path / "out"
    argv = ["fit", "--config", "slide_folder", "--dataset.root", str(slides), "--model", "colour_stats"]
    assert main([*argv, *flags, "--workers", "0", "--output", str(out)]) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["task"] == "slide_classification"
    assert results["identity"]["head"] == "abmil"
    assert "chance" in capsys.readouterr().out
    assert main(["verify", str(out), "--heads"]) == 0
    assert "predictions follow from embeddings and heads" in capsys.readouterr().out


def test_metadata_are_fitted_under_a_protocol_without_logistic_regression(job: Job, tmp_path: Path):
    abmil = replace(job, protocol=replace(job.protocol, C=()), head=registry.heads.build("abmil"), head_name="abmil")
    results = fit_job(replace(abmil, output=tmp_path / "out"), silent)
    assert results["baselines"]["metadata"]["splits"]["cv"]["metrics"]["balanced_accuracy"]["mean"] is not None


def test_a_head_that_the_protocol_has_nothing_for_is_told_before_any_slide_is_read(
    slides: Path, reads: list[int], capsys
):
    words = ["--config", "slide_folder", "--dataset.root", str(slides), "--model", "colour_stats"]
    assert main(["fit", *words, "--head", "mean_logreg", "--protocol", "eva-0.4"]) == 2
    assert "values of C for the head logreg" in capsys.readouterr().err
    assert reads == []


def test_one_class_in_a_fold_is_told_before_anything_is_fitted(job: Job, tmp_path: Path):
    first, *others = job.dataset.samples
    job.dataset.samples = [replace(first, target=1), *(replace(s, target=0) for s in others)]
    with pytest.raises(UsageError, match=r"two classes to learn from in each of 3 folds, but in one all .* has 'a'"):
        fit_job(replace(job, output=tmp_path / "out"), silent)


SMALL = {"mpp": 1.0, "size": 64, "patches": 6, "epochs": 3, "runs": 2, "folds": 3}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every patch that is decoded."""
    counted: list[int] = []
    read = Places.read
    monkeypatch.setattr(Places, "read", lambda *a: (counted.extend(a[2]), read(*a))[1])
    return counted


def test_several_models_are_predicted_from_one_reading(slides: Path, reads: list[int], capsys: pytest.CaptureFixture):
    flags = [f for name, value in SMALL.items() for f in (f"--protocol.slide_classification.{name}", str(value))]
    argv = ["predict", "--dataset", "slide_folder", "--dataset.root", str(slides), *flags, "--workers", "0"]
    assert main([*argv, "--models", "colour_stats,random_vits16"]) == 0
    stores = [Path(line) for line in capsys.readouterr().out.split()]
    assert [store.name.partition("-")[0] for store in stores] == ["colour_stats", "random_vits16"]
    assert len(reads) == 72
    assert main([*argv, "--model", "colour_stats", "--models", "colour_stats"]) == 2
    assert "either --model NAME with its arguments, or --models A,B,C" in capsys.readouterr().err


def test_a_board_reads_slides_once_for_all_models(slides: Path, tmp_path: Path, reads: list[int], capsys):
    models = [
        "colour_stats",
        {"name": "tiny", "class_path": "timm_model", "init_args": {"arch": "test_vit", "size": 32}},
    ]
    task = {"name": "own", "config": "slide_folder", "init_args": {"root": str(slides)}}
    board = {
        "name": "slides",
        "models": models,
        "tasks": [{**task, "protocol": {"slide_classification": SMALL}}],
        "heads": ["mean_logreg"],
        "protocol": "strict",
    }
    (tmp_path / "board.yaml").write_text(json.dumps(board))
    argv = ["leaderboard", "--config", str(tmp_path / "board.yaml"), "--output", str(tmp_path / "out")]
    assert main([*argv, "--workers", "0"]) == 0, capsys.readouterr().err
    assert len(reads) == 72
    assert len([*(tmp_path / "out").rglob("results.json")]) == 2


def test_a_slide_that_the_model_was_trained_on_is_marked_whatever_its_patient_is_called(job: Job, tmp_path: Path):
    job.backbone.card = replace(job.backbone.card, training_ids=("s10",))  # the second slide of the first patient
    results = fit_job(replace(job, output=tmp_path / "out"), silent)
    assert (results["contamination"]["kind"], results["contamination"]["n_seen"]) == ("exact", 1)


def test_random_weights_are_a_null_that_leaves_the_score_and_its_title(slides: Path, tmp_path: Path, job: Job):
    model = registry.models.build("timm_model", arch="resnet10t", size=64)
    trained = job_of(model, job.dataset, "mean_logreg", job.protocol, job.how)
    plain = fit_job(replace(trained, output=tmp_path / "a"), silent)
    with_null = replace(trained, how=replace(job.how, random_weights=True))
    results = fit_job(replace(with_null, output=tmp_path / "b"), silent)
    assert set(results["baselines"]) - set(plain["baselines"]) == {"random_weights"}
    assert results["main"] == plain["main"]
    assert results["identity"] == plain["identity"]
    assert results["key"] != plain["key"]  # one does not stand for the other
    assert {*plain["files"]} == {*results["files"]}
    with pytest.raises(UsageError, match="random_weights"):
        fit_job(replace(with_null, output=tmp_path / "a"), silent)


@pytest.mark.parametrize(
    ("outcome", "column", "predicted"),
    [
        ("label", lambda n: {"label": "ab"[n % 2]}, "score_b"),
        ("value", lambda n: {"value": n % 2 + 0.01 * n}, "predicted_value"),
        ("survival", lambda n: {"time": 9 - n % 2 * 6 + 0.1 * n, "event": int(n % 5 > 0)}, "risk"),
    ],
)
def test_finished_heads_say_something_of_slides_without_an_outcome(
    slides: Path, tmp_path: Path, outcome: str, column: Callable, predicted: str
):
    kind = TASKS[outcome][0]
    own = SlideFolder(str(relabelled(slides, tmp_path / "own", column)))
    fit("colour_stats", own, None, quick(kind), tmp_path / "out", HOW, silent)
    new = SlideFolder(str(relabelled(slides, tmp_path / "new", lambda n: {})), outcome=outcome)
    assert {sample.split for sample in new.samples} == {"new"}
    head = heads_of(quick(kind), own.card)[0]
    file = apply_heads(tmp_path / "out", "colour_stats", new, head, quick(kind), tmp_path / "applied", HOW, silent)
    table = pq.read_table(file)
    runs = table.num_rows // 12
    values = table[predicted].to_numpy().reshape(runs, 12).mean(0)
    assert len({*values.round(6)}) > 2
    assert values[1::2].mean() > values[0::2].mean()  # by colour alone, as those that were learnt from


def test_labels_of_other_slides_are_those_of_the_heads(slides: Path, tmp_path: Path):
    own = SlideFolder(str(relabelled(slides, tmp_path / "own", lambda n: {"label": "ab"[n % 2]})))
    fit("colour_stats", own, "mean_logreg", quick("slide_classification"), tmp_path / "out", HOW, silent)
    other = SlideFolder(
        str(relabelled(slides, tmp_path / "other", lambda n: {"label": "cb"[n % 2]}))
    )  # b is first here
    arguments = ("mean_logreg", quick("slide_classification"), tmp_path / "applied", HOW, silent)
    table = pq.read_table(apply_heads(tmp_path / "out", "colour_stats", other, *arguments))
    assert {name for name in table.column_names if name.startswith("score_")} == {"score_a", "score_b"}
    assert set(table["target"].to_pylist()) == {None, 1}
