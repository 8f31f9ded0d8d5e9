"""Whole studies of tiny networks."""

import errno
import json
import pickle

import pytest

from eva_core.cli import main
from eva_core.contracts.cards import ModelCard
from eva_core.evaluation.contamination import seen
from eva_core.results.record import read_json
from eva_pretrain.run import sole_process
from eva_pretrain.studies import runner
from eva_vision.models.exported import read_card, read_seen
from tests.pretrain.studies.conftest import TINY


def study(file, output, *more: str) -> int:
    return main(["study", "--config", str(file), *TINY, "--output", str(output), "--seeds", "2", "--few_seeds", *more])


@pytest.mark.slow
def test_a_study_goes_on_after_a_kill_and_trains_nothing_twice(
    study_file, patches, tmp_path, trained, monkeypatch, capsys
):
    out, file, train = tmp_path / "out", study_file(), runner._train

    def killed(*args):
        if len(trained) == 2:
            raise KeyboardInterrupt
        train(*args)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_train", killed)
        assert study(file, out, "--folder", str(patches)) == 130
    assert study(file, out, "--folder", str(patches)) == 0
    assert sorted(name.partition("-")[0] + name[-1] for name in trained) == ["long0", "long1", "short0", "short1"]
    record = json.loads((out / "study.json").read_text())
    assert [(v["name"], v["in_distribution"]["seeds"]) for v in record["variants"]] == [
        ("short", [0, 1]),
        ("long", [0, 1]),
    ]
    assert record["variants"][1]["cost"]["patches"] == 12
    assert (out / "study.png").is_file()
    assert capsys.readouterr().out.endswith(f"{out / 'study.md'}\n")
    assert study(file, out, "--folder", str(patches)) == 0
    assert study(file, out, "--folder", str(patches), "--tasks", "phantom", "--seeds", "1", "--data.workers", "1") == 0
    assert len(trained) == 4


def test_a_variant_that_fails_is_a_row(study_file, patches, tmp_path, trained, capsys):
    file = study_file(variants={"start": {"untrained": True}, "bad": {"vit": {"start": "/nowhere/x.pth"}}}, seeds=2)
    assert study(file, tmp_path / "out", "--folder", str(patches)) == 0
    said = capsys.readouterr()
    assert said.err.count("eva: bad, seed 0 has no score: ") == 1
    assert "/nowhere/x.pth" in said.err
    assert "no score" in said.out
    start = next((tmp_path / "out/runs").glob("start-*/seed-1/export"))
    assert read_card(start)["step"] == 0
    first = next((tmp_path / "out/runs").glob("start-*/seed-0/export"))
    assert read_card(start)["file_sha256"] != read_card(first)["file_sha256"]  # random weights of two seeds


def test_what_has_changed_of_a_study_is_made_again(study_file, patches, tmp_path, trained, capsys):
    def once() -> dict:
        assert study(study_file(variants={"short": {}}), tmp_path / "out", "--folder", str(patches), "--seeds=1") == 0
        return json.loads((tmp_path / "out/study.json").read_text())["variants"][0]

    whole = once()
    run = next((tmp_path / "out/runs").glob("*/seed-0"))
    cost, weights = run / "cost.json", run / "export/model.safetensors"
    cost.write_text(cost.read_text().replace('"patches": 8', '"patches": 9'))
    assert once()["cost"]["patches"] == whole["cost"]["patches"] == 8
    assert len(trained) == 1
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    next(run.glob("tasks/*/*/results.json")).unlink()  # to be scored again
    assert once()["in_distribution"] == whole["in_distribution"]
    assert "model.safetensors" in capsys.readouterr().err
    assert weights.read_bytes() == before


def test_nothing_but_failures_is_exit_1(study_file, patches, tmp_path, trained):
    file = study_file(variants={"bad": {"vit": {"start": "/nowhere/x.pth"}}})
    assert study(file, tmp_path / "out", "--folder", str(patches), "--seeds", "1") == 1


def test_a_second_study_in_a_folder_is_refused(study_file, patches, tmp_path, trained, monkeypatch, capsys):
    def held(*_):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(sole_process.fcntl, "lockf", held)
    assert study(study_file(), tmp_path / "out", "--folder", str(patches)) == 2
    assert f"Expected to be alone in {tmp_path / 'out'}, but another process works in it" in capsys.readouterr().err
    assert trained == []


def test_a_wrong_flag_is_one_line_and_exit_2(study_file, patches, tmp_path, capsys):
    assert study(study_file(), tmp_path / "out", "--folder", str(patches), "--recipe.stepps", "3") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_cut_patches_are_trained_from(study_file, index, tmp_path, trained, capsys):
    file = study_file(variants={"online": {}, "cut": {"cut": 6}})
    (tmp_path / "excluded.txt").write_text("a.svs\n")
    flags = ("--exclude", str(tmp_path / "excluded.txt"), "--sampling.fraction", "0.9", "--sampling.distinct", "50")
    assert study(file, tmp_path / "out", "--slides", str(index.folder), "--seeds", "1", *flags) == 0
    record = json.loads((tmp_path / "out/study.json").read_text())
    online, cut = record["variants"]
    assert online["cut"] is None
    assert (cut["cut"]["patches"], cut["cost"]["patches"], online["cost"]["patches"]) == (6, 8, 8)
    assert "disk" in (tmp_path / "out/study.md").read_text()
    export = next((tmp_path / "out/runs").glob("cut-*/seed-0/export"))
    cut_from = read_json(next((tmp_path / "out/cut").glob("*/cut.json")))["seen"]
    names = [name for name, _ in cut_from]
    assert len(read_seen(export)) == len(names) > 0
    assert "a.svs" not in names
    card = ModelCard("m", training_ids=tuple(slide for slide, _ in read_seen(export)))
    assert seen(card, names, names).all()

    file_of_cut = next((tmp_path / "out/cut").glob("*/cut.json"))
    file_of_cut.write_text(file_of_cut.read_text().replace('"patches": 6', '"patches": 7'))
    assert study(file, tmp_path / "out", "--slides", str(index.folder), "--seeds", "1", *flags) == 0
    assert "cut.json is damaged: it is written again" in capsys.readouterr().err
    again = json.loads((tmp_path / "out/study.json").read_text())["variants"][1]["cut"]
    assert again == {**cut["cut"], "seconds": None}


def test_runs_go_over_a_cluster(study_file, patches, tmp_path, trained, monkeypatch, capsys):
    def each(work, items, cpus, gpus, address):
        assert (cpus, gpus, address) == (4, 0.5, None)
        for item in items:
            there = pickle.loads(pickle.dumps(item))
            yield item, work(there) if item.seed else OSError("the machine went away")

    monkeypatch.setattr("eva_core.ray_cluster.each_on_ray", each)
    file = study_file(variants={"start": {"untrained": True}})
    assert (
        study(file, tmp_path / "out", "--folder", str(patches), "--engine", "ray", "--cpus", "4", "--gpus", "0.5") == 0
    )
    assert "eva: start, seed 0 has no score: OSError: the machine went away\n" in capsys.readouterr().err
    record = json.loads((tmp_path / "out/study.json").read_text())
    assert record["variants"][0]["in_distribution"]["seeds"] == [1]
