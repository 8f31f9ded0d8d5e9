import numpy as np

from eva_core.curves.points import point_key, pooled
from eva_core.files.sealed_records import read_record


def test_draws_are_pooled_as_runs(made):
    folders = [made[1] / f"out/points/tiny/30%/draw{draw}" for draw in (0, 1)]
    both = pooled("classification", folders, "test")
    single = [pooled("classification", [folder], "test") for folder in folders]
    assert both.scores.shape == (2, 30, 2)
    for of_draw, part in zip(both.scores, single, strict=True):
        assert np.array_equal(of_draw, part.scores[0])
    assert list(both.ids) == list(single[0].ids)


def test_a_point_is_known_by_what_it_learns_from(made):
    stamp = {"key": "k"}
    assert point_key(stamp, np.array(["a", "b"])) != point_key(stamp, np.array(["a"]))
    keys = {read_record(path)["key"] for path in (made[1] / "out").rglob("point.json")}
    assert len(keys) == 6  # two models, two draws of a share, and all of train
