"""Numbers, table and plot from results that were written by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eva_core.boards.board import Pair, Part
from eva_core.files.sealed_records import write_record
from eva_core.results.record import read_results, write_results
from eva_pretrain.studies.plan import COST, Run
from eva_pretrain.studies.plot import draw
from eva_pretrain.studies.scores import study_record
from eva_pretrain.studies.study import Study, Task, Variant
from eva_pretrain.studies.table import as_markdown, failures, on_screen

TASKS = (Task("a", {}, "in_distribution"), Task("b", {}, "in_distribution"), Task("c", {}, "out_of_distribution"))
START, BASE, BETTER = Variant("start", {}, untrained=True), Variant("base", {}), Variant("better", {"recipe": {}})
STUDY = Study("s", "Which is better", "demo", "base", (START, BASE, BETTER), 3, "strict", TASKS)


def result(folder: Path, mean: float, draws: np.ndarray, kind: str = "group", groups: str | None = None) -> None:
    """Of ten groups, which are the task's own unless named."""
    folder.mkdir(parents=True)
    names = [f"{groups or folder.parent.name}{n % 10}" for n in range(40)]
    columns = {"id": [f"{n}" for n in range(40)], "split": ["test"] * 40, "group": names}
    pq.write_table(pa.table(columns), folder / "predictions.parquet")
    np.save(folder / "bootstrap.npy", draws.astype(np.float32))
    metrics = {"balanced_accuracy": {"mean": 0.25}}
    content = {
        "identity": {"dataset_sha256": "x"},
        "synthetic": False,
        "main": {"split": "test", "metric": "balanced_accuracy", "mean": mean},
        "splits": {"test": {"n": 40, "n_groups": 10 if kind == "group" else None, "interval": kind}},
        "baselines": {"colour_stats": {"splits": {"test": {"metrics": metrics}}}},
        "contamination": {"kind": "none declared"},
    }
    write_results(folder, content, ["predictions.parquet", "bootstrap.npy"])


def make_run(root: Path, variant: Variant, seed: int) -> Run:
    folder = root / "runs" / variant.slug / f"seed-{seed}"
    pairs = tuple(Pair("m", t.name, {}, "strict", (Part("default", None),), folder / "tasks" / t.name) for t in TASKS)
    return Run(variant, seed, (), folder, None, pairs, fixed=variant.untrained)


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Base 0.5, 0.6, 0.7 by seed; better by 0.1, 0.11, 0.12; the start has one seed at 0.4. Task b is 0.02 above a."""
    wobble = np.random.default_rng(0).normal(0, 0.01, 2000)  # of test groups, the same for all
    means = ((START, [0.4]), (BASE, [0.5, 0.6, 0.7]), (BETTER, [0.6, 0.71, 0.82]))
    found = []
    for variant, values in means:
        for seed, value in enumerate(values):
            run = make_run(tmp_path, variant, seed)
            for pair, more in zip(run.pairs, (0, 0.02, 0), strict=True):
                result(pair.folder / "default", value + more, value + more + wobble)
            if not variant.untrained:
                write_record(run.folder / COST, {"patches": 100, "seconds": 10.0 + 10 * seed})
            found.append(run)
    return found


def test_means_spreads_and_differences(runs):
    record = study_record(STUDY, runs)
    start, base, better = record["variants"]
    inside = base["in_distribution"]
    assert inside["values"] == pytest.approx([0.51, 0.61, 0.71])
    assert (inside["mean"], inside["std"]) == pytest.approx((0.61, 0.1))
    # the variance of the mean: 0.1^2 / 3 of seeds, and of groups that of a mean of two tasks that do not go together
    half = (inside["ci95"][1] - inside["ci95"][0]) / 2
    assert half == pytest.approx(0.1, rel=0.15)  # the greatest mean of two seeds less the mean
    assert inside["t95"] == pytest.approx([0.61 - 4.30265 * 0.1 / 3**0.5, 0.61 + 4.30265 * 0.1 / 3**0.5], abs=1e-5)
    difference = better["in_distribution"]["difference"]
    assert difference["mean"] == pytest.approx(0.11)
    assert difference["ci95"] == pytest.approx([0.10, 0.12], abs=2e-3)  # seeds in pairs, groups drop out
    assert difference["t95"] == pytest.approx(
        [0.11 - 4.30265 * 0.01 / 3**0.5, 0.11 + 4.30265 * 0.01 / 3**0.5], abs=1e-5
    )
    assert difference["told_apart"]
    assert "difference" not in inside
    below = start["in_distribution"]["difference"]
    assert below["mean"] == pytest.approx(-0.2)
    assert not below["told_apart"]  # three seeds that spread by 0.1: t-interval -0.2 +- 0.25
    assert base["cost"]["patches_per_s"] == pytest.approx(300 / 60)
    assert record["colour_stats"] == {"in_distribution": 0.25, "out_of_distribution": 0.25}


def test_tasks_with_as_many_groups_do_not_go_together(runs):
    one = study_record(STUDY, runs)["variants"][0]
    widths = [np.diff(one[side]["ci95"]).item() for side in ("in_distribution", "out_of_distribution")]
    assert widths[0] / widths[1] == pytest.approx(2**-0.5, abs=0.06)


def test_tasks_on_the_same_groups_do(tmp_path):
    run, wobble = make_run(tmp_path, START, 0), np.random.default_rng(0).normal(0, 0.01, 2000)
    for pair in run.pairs:
        result(pair.folder / "default", 0.5, 0.5 + wobble, groups="patient")
    found = study_record(STUDY, [run, *(make_run(tmp_path, v, 0) for v in (BASE, BETTER))])["variants"][0]
    assert found["in_distribution"]["ci95"] == pytest.approx(found["out_of_distribution"]["ci95"])


def test_one_finished_seed_of_a_training_tells_nothing_apart(runs):
    for run in runs[-2:]:
        for pair in run.pairs:
            (pair.folder / "default" / "results.json").unlink()
    difference = study_record(STUDY, runs)["variants"][2]["in_distribution"]["difference"]
    assert difference["t95"] is None
    assert not difference["told_apart"]
    assert difference["ci95"] is not None


def test_the_names_of_slides_stay_out_of_the_record(runs, tmp_path):
    write_record(tmp_path / "cut.json", {"patches": 3, "bytes": 9, "seconds": 1.5, "seen": [["case 7.svs", None]]})
    cut = [replace(run, cut_to=tmp_path) if run.variant is BETTER else run for run in runs]
    assert study_record(STUDY, cut)["variants"][2]["cut"] == {"patches": 3, "bytes": 9, "seconds": 1.5}


def test_the_table_says_what_was_found(runs):
    record = study_record(STUDY, runs)
    text = as_markdown(record)
    row = next(line for line in text.splitlines() if line.startswith("| better"))
    assert "| 3 | 0.720 ± 0.110 (" in row
    assert r"| +0.110 \* (+0.100 to +0.120) |" in row
    assert "- In-distribution: better is better than base; start cannot be told apart from base." in text
    assert "c (balanced accuracy on test, n = 40 of 10 groups)" in text
    assert "Six colour numbers alone reach 0.250 in-distribution." in text
    assert on_screen(record).row_count == 3


@pytest.mark.parametrize("name", ["results.json", "bootstrap.npy", "predictions.parquet"])
def test_a_damaged_result_costs_its_own_seed_and_is_done_again(runs, name):
    file = runs[-1].pairs[0].folder / "default" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert study_record(STUDY, runs)["variants"][2]["in_distribution"]["seeds"] == [0, 1]
    assert not runs[-1].pairs[0].done
    assert runs[-2].pairs[0].done


def test_what_failed_is_a_row_with_its_reason(runs, tmp_path):
    failed, half = runs[-1], runs[-2]
    for pair in failed.pairs:
        (pair.folder / "default" / "results.json").unlink()
    (failed.folder / "failed.json").write_text('{"reason": "out of memory"}')
    (half.pairs[2].folder / "default" / "results.json").unlink()
    (half.pairs[2].folder / "failed.json").write_text('{"reason": "no such file"}')
    record = study_record(STUDY, runs)
    better = record["variants"][2]
    assert better["in_distribution"]["seeds"] == [0, 1]
    assert better["out_of_distribution"]["seeds"] == [0]
    assert failures(record) == [("better, seed 1 on c", "no such file"), ("better, seed 2", "out of memory")]
    text = as_markdown(record)
    assert "| better | 1 / 2 of 3 |" in text
    assert "- better, seed 2 has no score: out of memory" in text


def test_nothing_yet_is_said_and_drawn(tmp_path):
    runs = [make_run(tmp_path, variant, 0) for variant in STUDY.variants]
    record = study_record(STUDY, runs)
    assert "| base | 0 of 1 | no score | - |" in as_markdown(record)
    assert draw(record, tmp_path / "study.png").stat().st_size > 0


def test_results_on_other_files_are_not_mixed(runs):
    folder = runs[-1].pairs[0].folder / "default"
    content = read_results(folder)
    content["identity"]["dataset_sha256"] = "y"
    write_results(folder, content, content["files"])
    record = study_record(STUDY, runs)
    assert record["variants"][2]["in_distribution"]["seeds"] == [0, 1]
    assert "other files" in failures(record)[0][1]


def test_intervals_of_images_are_called_too_narrow(tmp_path):
    run = make_run(tmp_path, BASE, 0)
    for pair in run.pairs:
        result(pair.folder / "default", 0.5, np.full(2000, 0.5), kind="image-level, optimistic")
    text = as_markdown(study_record(STUDY, [run, *(make_run(tmp_path, v, 0) for v in (START, BETTER))]))
    assert "- a: no groups are known, so its images are resampled: too narrow an interval." in text


def test_the_plot_has_a_panel_for_each_side(runs, tmp_path):
    record = study_record(STUDY, runs)
    both = Image.open(draw(record, tmp_path / "both.png"))
    record["tasks"] = [task for task in record["tasks"] if task["side"] == "in_distribution"]
    one = Image.open(draw(record, tmp_path / "one.png"))
    assert both.width > 1.5 * one.width
    assert both.height == one.height
