"""Values of a recipe at its steps."""

import re

import pytest

from eva_core.errors import UsageError
from eva_pretrain.optimisation.recipe import Recipe, Schedule

RECIPE = Recipe(
    steps=1000, lr=1e-3, min_lr=1e-6, warmup=0.1, temperature_warmup=0.3, freeze_last=0.02, heads_alone=0.05
)


def test_a_run_from_random_weights_warms_up_at_once():
    values = Schedule(RECIPE, batch=1024)
    assert values(0).lr == 0
    assert not values(0).heads_alone
    assert values(99).lr == pytest.approx(1e-3)
    assert [values(step).last_layer_lr > 0 for step in (19, 20)] == [False, True]
    assert values(1000).lr == 1e-6
    assert (values(0).temperature, values(299).temperature, values(999).temperature) == (0.04, 0.07, 0.07)


def test_new_heads_learn_alone_at_the_full_rate_before_the_warm_up():
    values = Schedule(RECIPE, batch=1024, heads_first=True)
    for step in (0, 49):
        assert values(step).heads_alone
        assert values(step).lr == values(step).last_layer_lr == pytest.approx(1e-3)
    assert not values(50).heads_alone
    assert values(50).lr == 0
    assert [values(step).last_layer_lr > 0 for step in (69, 70)] == [False, True]
    assert values(149).lr == pytest.approx(1e-3)


def test_a_shorter_run_has_the_same_shape():
    long, short = Schedule(RECIPE, 512), Schedule(Recipe(**{**vars(RECIPE), "steps": 100}), 512)
    for step in (20, 50, 90):
        assert short(step).momentum == pytest.approx(long(10 * step).momentum)
        assert short(step).weight_decay == pytest.approx(long(10 * step).weight_decay)


def test_a_schedule_may_be_longer_than_the_run():
    stopped = Schedule(Recipe(**{**vars(RECIPE), "steps": 10, "schedule_steps": 1000}), 512)
    assert [stopped(step) for step in (0, 9, 500)] == [Schedule(RECIPE, 512)(step) for step in (0, 9, 500)]


def test_a_constant_schedule_stays_after_its_warm_up():
    values = Schedule(Recipe(**{**vars(RECIPE), "schedule": "constant"}), 1024)
    assert values(0).lr == 0
    for step in (100, 999, 5000):
        assert values(step).lr == pytest.approx(1e-3)
        assert (values(step).weight_decay, values(step).momentum) == (0.04, 0.994)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "steps to be at least 1"),
        ({"schedule_steps": 0}, "schedule_steps to be at least 1, but got 0"),
        ({"min_lr": -1.0}, "min_lr from 0 to lr"),
        ({"min_lr": 1.0}, "min_lr from 0 to lr"),
        ({"warmup": 1.5}, "shares of the steps"),
        ({"temperature": (0.0, 0.07)}, "temperature above 0"),
        ({"temperature": (0.04, 1e9)}, "temperature above 0 and at most 1"),
        ({"weight_decay": (-0.1, 0.4)}, "weight_decay from 0 to 1"),
        ({"weight_decay": (0.1, 1e9)}, "weight_decay from 0 to 1"),
        ({"layer_decay": 0.0}, "layer_decay and patch_embed above 0 and at most 1, but got (0.0, 0.2)"),
        ({"layer_decay": 1e9}, "layer_decay and patch_embed above 0 and at most 1"),
        ({"patch_embed": -1.0}, "layer_decay and patch_embed above 0 and at most 1, but got (1.0, -1.0)"),
        ({"betas": (0.9, 1.0)}, "betas of at least 0 and below 1, but got (0.9, 1.0)"),
        ({"betas": (-0.1, 0.999)}, "betas of at least 0 and below 1"),
    ],
)
def test_nonsense(change, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        Recipe(**change)


def test_a_high_learning_rate_is_said_at_its_batch():
    assert Recipe(lr=3e-2).unusual(32) == []
    (said,) = Recipe(lr=0.5).unusual(4)
    assert said.startswith("The learning rate reaches 0.031 at a batch of 4")


def test_a_teacher_that_follows_closely_is_said():
    (said,) = Recipe(momentum=(0.0, 1.0)).unusual(32)
    assert said.startswith("The teacher's momentum begins at 0, which is low")


def test_a_run_that_ends_within_its_warm_up_is_said():
    assert Recipe(steps=101, schedule_steps=1000, warmup=0.1).unusual(32) == []
    (said,) = Recipe(steps=100, schedule_steps=1000, warmup=0.1).unusual(32)
    assert said.startswith("The run ends at step 100, within the warm-up of 100")
