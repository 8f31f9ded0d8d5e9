from dataclasses import replace

import numpy as np
import pytest

from eva_core.commands.predict import jobs_of
from eva_vision.robustness.contracts import Benchmark
from eva_vision.robustness.images import Images
from eva_vision.robustness.study import of_model, study, with_intervals
from eva_vision.robustness.typed_neighbours import Labels
from tests.vision.robustness.example import planted


def images(labels: Labels, parts: list[np.ndarray] | None = None) -> Images:
    n = len(labels.classes)
    return Images(np.arange(n), labels, ["A", "B", "C"], [f"s{g}" for g in labels.groups], parts or [np.arange(n)])


@pytest.fixture
def job(words):
    return jobs_of([*words, "--model", "colour_stats"])[0]


def test_a_model_that_knows_the_class_and_one_that_knows_the_site(job):
    found = []
    for pull in (0.1, 6.0):
        x, labels = planted(pull=pull)
        found.append(of_model(job, x, images(labels), Benchmark(k=5)))
    good, bad = (record["values"] for record in found)
    assert good["robustness_index"]["value"] > 0.8 > 0.2 > bad["robustness_index"]["value"]
    assert good["croma"]["value"] > 0 > bad["croma"]["value"]
    assert good["croma_f0"]["value"] < 0.1 < 0.9 < bad["croma_f0"]["value"]
    for record in found:
        assert 0 <= record["site_accuracy"] <= 1
        for name, value in record["values"].items():
            assert value["ci95"][0] <= value["value"] <= value["ci95"][1], name
    assert found[0]["k"] == 5
    assert found[0]["notes"] == []


def test_parts_are_measured_by_themselves_and_the_margin_on_all(job):
    x, labels = planted()
    parts = [np.flatnonzero(np.isin(labels.sites, pair)) for pair in ((0, 1), (1, 2))]
    whole = of_model(job, x, images(labels), Benchmark(k=5))["values"]
    both = of_model(job, x, images(labels, parts), Benchmark(k=5))["values"]
    assert both["croma"] == whole["croma"]
    assert both["robustness_index"]["value"] != whole["robustness_index"]["value"]


def test_a_class_at_one_site_has_no_margin_and_copies_and_few_neighbours_are_told(job):
    x, labels = planted(n=36)
    labels = Labels(labels.classes, np.where(labels.classes == 0, 0, labels.sites), labels.groups)
    x[9] = x[0]
    record = of_model(job, x, images(labels), Benchmark(k=50))
    assert record["values"]["croma"] == {"value": None, "ci95": None}
    assert record["values"]["robustness_index"]["value"] is not None
    few, copies, lacking = record["notes"]
    assert few.startswith("36 images have fewer than 50")
    assert copies.startswith("2 images have the embedding of one of another group")
    assert lacking.startswith("no CRoMa: 28 images have fewer than 5")


def test_copies_alone_have_no_margin(job):
    _, labels = planted(n=600)
    record = of_model(job, np.ones((600, 3), np.float32), images(labels), Benchmark(k=5))
    assert record["values"]["croma"]["value"] is None
    assert record["notes"][-1] == "no CRoMa: the nearest of both kinds are copies for 600 images"
    assert record["tau"] is None


def test_neighbours_that_share_both_or_nothing_give_no_index(job):
    x = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(40, 4))
    cell = np.arange(40) // 10
    labels = Labels(cell // 2, cell % 2, np.arange(40))
    record = of_model(job, x.astype(np.float32), images(labels), Benchmark(k=5))
    assert record["values"]["robustness_index"] == record["values"]["mari"] == {"value": None, "ci95": None}
    assert record["notes"] == [
        "no index: none of the 5 nearest of any image shares exactly one of class and site with it"
    ]
    assert record["values"]["croma"]["value"] is not None


def test_intervals_are_by_group():
    values = np.repeat(np.random.default_rng(0).normal(size=25), 40)
    groups = [f"g{i // 40}" for i in range(1000)]

    def mean(weights):
        return {"mean": weights @ values / weights.sum(1)}

    by_group = with_intervals({"mean": 0.0}, [mean], groups)["mean"]["ci95"]
    by_image = with_intervals({"mean": 0.0}, [mean], [None] * 1000)["mean"]["ci95"]
    assert np.diff(by_group) > 4 * np.diff(by_image)
    few = with_intervals({"mean": 0.0}, [mean], [f"g{i // 100}" for i in range(1000)])
    assert few["mean"]["t95"] is not None


def test_from_the_store_and_again(words, monkeypatch):
    jobs = jobs_of([*words, "--models", "colour_stats,colour_stats"])
    content = study(jobs)
    assert len(content["models"]) == 2
    assert (content["n"], content["n_groups"], content["parts"]) == (144, 36, 1)
    assert content["sites"]["A"] == {"normal": 36, "tumor": 36}
    assert content["models"][0]["k"] == 11
    monkeypatch.setattr(jobs[0].dataset, "image", None)  # nothing is read again
    assert study(jobs)["models"] == content["models"]


def test_without_groups_and_with_a_class_at_one_site_it_is_told(words, monkeypatch):
    job = jobs_of([*words, "--model", "colour_stats"])[0]
    samples = [replace(s, group=None, site="A" if s.target else s.site) for s in job.dataset.samples]
    monkeypatch.setattr(job.dataset, "samples", samples)
    content = study([job])
    assert content["interval"] == "image-level, optimistic"
    assert content["notes"][1] == "at one site alone: tumor; no neighbour of these classes is at another"


@pytest.mark.usefixtures("few_cs")
def test_probes_on_request_or_why_not(words, monkeypatch):
    job = jobs_of([*words, "--model", "colour_stats"])[0]
    (record,) = study([job], resamplings=1)["models"]
    assert record["notes"][-1].startswith(
        "no APD: Expected"
    )  # the published sets want more slides than the tiny tree has
    assert "drops" not in record
    monkeypatch.setattr(job.dataset, "benchmark", Benchmark(home="train"))
    (record,) = study([job], resamplings=1)["models"]
    assert record["drops"]["values"].keys() == {"apd_in", "nipd_in", "apd_out", "nipd_out"}
