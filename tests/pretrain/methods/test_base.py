"""What every method has: settings that fit together, a teacher that only follows, chance that depends on patches."""

from dataclasses import replace

import pytest
import torch

from eva_core.errors import UsageError
from eva_pretrain.augment.views import Views
from eva_pretrain.methods.base import Setup, _seed
from eva_pretrain.methods.dino import Dino
from eva_pretrain.network.vit import Architecture
from eva_pretrain.optimisation.recipe import Recipe

VIT = Architecture("vit_tiny_patch16_224", size=32, arguments={"depth": 1, "embed_dim": 24, "num_heads": 3})
VIEWS = Views(global_size=32, local_size=16, local_crops=1)


def method(seed: int = 0) -> Dino:
    return Dino(Setup(VIT, VIEWS, Recipe(), 4, seed), prototypes=8, hidden=16, bottleneck=8)


def test_the_teacher_begins_as_the_student_and_never_learns():
    made = method()
    for (name, ours), theirs in zip(made.student.named_parameters(), made.teacher.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
        assert ours.requires_grad or "last_layer" in name
        assert not theirs.requires_grad, name


def test_the_teacher_stays_in_eval_mode():
    made = method()
    assert made.train() is made
    assert made.student.training
    assert not made.teacher.training
    made.eval()
    assert not made.student.training


def test_weights_depend_on_the_seed_alone():
    state = torch.random.get_rng_state()
    first, again, other = method(1), method(1), method(2)
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = [m.student.vit.network.cls_token for m in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_chance_differs_from_batch_to_batch():
    seeds = {_seed(seed, number) for seed in range(3) for number in range(50)}
    assert len(seeds) == 150
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_what_a_checkpoint_keeps_comes_back():
    made, content = method(), {}
    made.skipped, made._skipped_in_a_row, made.heads_first, made._batch = 5, 2, True, 64
    made.on_save_checkpoint(content)
    other = method()
    other.on_load_checkpoint(content)
    assert (other.skipped, other._skipped_in_a_row, other.heads_first, other._batch) == (5, 2, True, 64)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": -1}, "seed of at least 0"),
        ({"most_skipped": 0}, "most_skipped of at least 1"),
        ({"views": Views(global_size=48)}, "views.global_size to be vit.size, 32"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        Setup(**{"architecture": VIT, "views": VIEWS, "recipe": Recipe(), "batch_size": 4, **changes})


def test_crops_are_multiples_of_the_patch():
    setup = Setup(VIT, Views(global_size=32, local_size=20), Recipe(), 4)
    with pytest.raises(UsageError, match=r"views.local_size to be a multiple of the patch of 16 px.*Try 16"):
        Dino(setup, prototypes=8, hidden=16, bottleneck=8)


def test_graphs_of_an_earlier_run_are_forgotten(monkeypatch):
    compile_, made = torch.nn.Module.compile, []
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self, **given: compile_(self, backend=lambda graph, _: made.append(graph) or graph.forward, **given),
    )
    torch.compiler.reset()
    run = Dino(Setup(replace(VIT, compile=True), VIEWS, Recipe(), 4), prototypes=8, hidden=16, bottleneck=8)
    with torch.no_grad():
        for graphs in (1, 2):
            run.on_fit_start()
            for _ in range(2):
                run.teacher.vit(torch.zeros(4, 3, 32, 32))
            assert len(made) == graphs
    torch.compiler.reset()
