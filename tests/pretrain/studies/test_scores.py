"""Numbers of a study from results that were written by hand."""

from dataclasses import replace

import numpy as np
import pytest

from eva_core.files.sealed_records import write_record
from eva_core.results.record import read_results, write_results
from eva_pretrain.studies.scores import study_record
from eva_pretrain.studies.table import failures
from tests.pretrain.studies.results import BASE, BETTER, START, STUDY, make_run, result


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


@pytest.mark.parametrize("name", ["results.json", "bootstrap.npy", "predictions.parquet"])
def test_a_damaged_result_costs_its_own_seed_and_is_done_again(runs, name):
    file = runs[-1].pairs[0].folder / "default" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert study_record(STUDY, runs)["variants"][2]["in_distribution"]["seeds"] == [0, 1]
    assert not runs[-1].pairs[0].done
    assert runs[-2].pairs[0].done


def test_results_on_other_files_are_not_mixed(runs):
    folder = runs[-1].pairs[0].folder / "default"
    content = read_results(folder)
    content["identity"]["dataset_sha256"] = "y"
    write_results(folder, content, content["files"])
    record = study_record(STUDY, runs)
    assert record["variants"][2]["in_distribution"]["seeds"] == [0, 1]
    assert "other files" in failures(record)[0][1]
