import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from eva_core.api import fit_job
from eva_core.classification.task import Classification
from eva_core.commands.compare import compare
from eva_core.curves.curve import Plan, curve
from eva_core.curves.points import pooled
from eva_core.errors import UsageError
from tests.conftest import Pictures
from tests.core.curves.conftest import SHARES


def quiet(_):
    pass


def test_all_of_train_is_the_score_of_eva_fit(made, stores, tmp_path, monkeypatch):
    content, root = made
    monkeypatch.setattr("eva_core.api.try_report", lambda *_, **__: None)
    folders = []
    for place, name in enumerate(("colour_stats", "tiny")):
        folders.append(tmp_path / name)
        results = fit_job(replace(stores(name), output=folders[-1]), quiet)
        point = content["models"][place]["points"][-1]
        record = results["splits"]["test"]["metrics"]["balanced_accuracy"]
        assert (point["mean"], point["ci95"], point["t95"]) == (record["mean"], record["ci95"], record.get("t95"))
        drawn = root / f"out/points/{name}/100%/draw0/predictions.parquet"
        assert drawn.read_bytes() == (folders[-1] / "predictions.parquet").read_bytes()
    pair = next(p for p in content["between"] if p["share"] == 1)
    assert f"differs by {abs(pair['difference']):.3f}" in compare(folders)[0]


def test_the_curve_says_how_many_were_labelled(made):
    content, _ = made
    assert [facts["share"] for facts in content["shares"]] == list(SHARES)
    assert content["shares"][-1] == {"share": 1.0, "n": [90], "n_groups": [30]}
    for facts in content["shares"][:-1]:
        assert len(facts["n"]) == len(facts["n_groups"]) == 2
        assert facts["n"] == [3 * groups for groups in facts["n_groups"]]
    assert (content["n_reported"], content["n_groups_reported"]) == (30, 10)
    assert (content["split"], content["head"], content["protocol"][:6]) == ("test", "knn(k=(1, 3))", "strict")


def test_a_point_is_the_mean_over_draws(made):
    content, root = made
    point = content["models"][1]["points"][0]
    values = [
        json.loads((root / f"out/points/tiny/30%/draw{k}/point.json").read_text())["score"]["metrics"] for k in (0, 1)
    ]
    assert point["values"] == [of["balanced_accuracy"]["mean"] for of in values]
    assert point["mean"] == pytest.approx(np.mean(point["values"]))
    assert point["std"] == pytest.approx(np.std(point["values"], ddof=1))
    assert point["ci95"][0] <= point["mean"] <= point["ci95"][1]
    assert point["nulls"].keys() == {"colour_stats"}


def test_draws_of_two_models_are_paired(made):
    content, root = made
    shares = [pair["share"] for pair in content["between"]]
    assert shares == list(SHARES)
    for share, pair in zip(("30%", "100%"), content["between"], strict=True):
        draws = (0, 1) if share == "30%" else (0,)
        parts = [
            pooled("classification", [root / f"out/points/{m}/{share}/draw{k}" for k in draws], "test")
            for m in ("colour_stats", "tiny")
        ]
        hits = [part.scores.argmax(-1) == part.targets for part in parts]
        recalls = [
            np.mean([[h[of.targets == c].mean() for c in (0, 1)] for h in hit])
            for hit, of in zip(hits, parts, strict=True)
        ]
        assert pair["difference"] == pytest.approx(recalls[0] - recalls[1])
        assert pair["p_holm"] >= pair["p"]


def test_a_stopped_curve_goes_on_with_the_same_numbers(made, stores, tmp_path, monkeypatch):
    whole, fitted = Classification.evaluate, []

    def counted(self, job, *given):
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append(job.model)
        return whole(self, job, *given)

    monkeypatch.setattr(Classification, "evaluate", counted)
    plan = Plan(SHARES, 2, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        curve([stores("colour_stats")], plan, quiet)
    fitted.clear()
    points = curve([stores("colour_stats")], plan, quiet)["models"][0]["points"]
    assert points == made[0]["models"][0]["points"]
    assert len(fitted) == 1
    fitted.clear()
    more = curve([stores("colour_stats")], Plan((0.3,), 3, tmp_path / "out"), quiet)["models"][0]["points"][0]
    assert more["values"][:2] == points[0]["values"]
    assert len(fitted) == 1  # another draw is all that was missing


def test_a_share_too_small_to_hold_some_out_is_said(stores, tmp_path):
    content = curve([stores("colour_stats")], Plan((0.01, 1.0), 2, tmp_path / "out"), quiet)
    point = content["models"][0]["points"][0]
    assert point["values"] == [None, None]
    assert point["mean"] is point["ci95"] is None
    assert "held out" in point["left_out"][0]
    assert content["models"][0]["points"][1]["mean"] is not None
    with pytest.raises(UsageError, match="share that can be fitted, but none can: Expected groups"):
        curve([stores("colour_stats")], Plan((0.01,), 1, tmp_path / "out"), quiet)


def test_a_damaged_point_is_fitted_again_and_one_of_another_curve_refused(made, stores, tmp_path):
    content, root = made
    shutil.copytree(root / "out", tmp_path / "out")
    (tmp_path / "out/points/tiny/30%/draw1/predictions.parquet").write_bytes(b"half")
    lines = []
    plan = Plan(SHARES, 2, tmp_path / "out")
    again = curve([stores("tiny")], plan, lines.append)
    assert again["models"][0] == content["models"][1]
    assert any("predictions.parquet is damaged" in line for line in lines)
    with pytest.raises(UsageError, match="another model, dataset, head, protocol or version"):
        curve([stores("tiny", holdout=0.3)], plan, quiet)


def test_what_makes_no_curve_is_refused(stores, tmp_path):
    plan = Plan((1.0,), 1, tmp_path / "out")
    for jobs, said in (
        ([stores("tiny"), stores("tiny")], "different names, but got tiny, tiny"),
        ([stores("tiny", shots=2)], "shares of train or few shots"),
        ([replace(stores("tiny"), dataset=Pictures(30, ("val", "test")))], "train split"),
    ):
        with pytest.raises(UsageError, match=said):
            curve(jobs, plan, quiet)
    with pytest.raises(UsageError, match="above 0 and up to 100, but got 0, 5"):
        Plan((0.0, 0.05), 1, tmp_path)
    with pytest.raises(UsageError, match="--draws to be at least 1, but got 0"):
        Plan((0.5,), 0, tmp_path)
