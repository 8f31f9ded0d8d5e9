"""Counts of a checkpoint in batches of another size of step."""

import copy
from typing import Any

from eva_pretrain.run.regrouping import regroup


def content(accumulate: int, steps: int = 6) -> dict[str, Any]:
    """What a checkpoint after some steps counts, amid the last batch, as Lightning writes it."""
    done = steps * accumulate
    counts = {"ready": done, "started": done, "processed": done, "completed": done - 1}
    loader = {"batches": done, "left_out": {"a.svs": 2 * accumulate}}
    fit = {
        "epoch_loop.batch_progress": {"total": dict(counts), "current": dict(counts)},
        "state_dict": {"combined_loader": [loader]},
    }
    return {"global_step": steps, "loops": {"fit_loop": fit}}


def test_counts_are_those_of_the_other_size():
    for before, after in ((1, 2), (4, 2), (3, 1), (2, 2)):
        moved = content(before)
        regroup(moved, after)
        assert moved == content(after)


def test_a_step_that_splits_a_horizon_leaves_out_from_the_next_step_on():
    moved = content(2)
    moved["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]["left_out"]["a.svs"] = 5
    regroup(moved, 1)
    assert moved["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]["left_out"] == {"a.svs": 3}


def test_without_a_step_nothing_is_counted():
    before = content(2, steps=0)
    moved = copy.deepcopy(before)
    regroup(moved, 4)
    assert moved == before
