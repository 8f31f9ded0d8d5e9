"""Training: the protocol is kept to the step, the best is kept, and a run is its seed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from eva_vision.segmentation.context import Context
from eva_vision.segmentation.contracts import SegmentationHead
from eva_vision.segmentation.decoders.heads import ConvSegImage, LinearSeg
from eva_vision.segmentation.decoders.losses import dice_loss
from eva_vision.segmentation.decoders.run_checkpoints import write_run
from eva_vision.segmentation.decoders.training import logits, new_decoder, train
from eva_vision.segmentation.features.batches import Batch
from eva_vision.segmentation.protocol import Segmentation
from eva_vision.segmentation.scoring.scoring import mean_dice
from tests.vision.segmentation.tiny import Painted, laid_out, protocol

CPU = torch.device("cpu")
RULES = Segmentation(steps=12, batch_size=4, lr=0.1)


class Noise:
    """Ten tiles of noise, the same in every epoch; counts epochs."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.batch = Batch(
            torch.rand(10, 3, 4, 4, generator=generator),
            torch.rand(10, 3, 8, 8, generator=generator),
            torch.randint(2, (10, 8, 8), generator=generator),
        )
        self.epochs: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return 10

    def epoch(self, number: int, size: int, seed: int) -> Iterator[Batch]:
        self.epochs.append((number, seed))
        for first in range(0, 10, size):
            yield Batch(*(getattr(self.batch, n)[first : first + size] for n in ("features", "images", "masks")))


class WithDropout(SegmentationHead):
    def decoder(self, channels: int, classes: int) -> nn.Module:
        class Dropping(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.drop = nn.Conv2d(channels, classes, 1), nn.Dropout(0.5)

            def forward(self, features: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
                return self.layer(self.drop(features))

        return Dropping()


def decoder(head: SegmentationHead | None = None, seed: int = 0) -> nn.Module:
    return new_decoder(head or LinearSeg(), 3, 2, seed, CPU)


def told(*values: float) -> tuple[Callable[[nn.Module], float], list[dict[str, torch.Tensor]]]:
    """A score that gives these values, the last of them for ever, and what it was asked about."""
    answers, asked = chain(values, repeat(values[-1])), []

    def score(module: nn.Module) -> float:
        module.eval()
        asked.append({name: value.clone() for name, value in module.state_dict().items()})
        return next(answers)

    return score, asked


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_is_adamw_on_the_loss():
    mine = decoder()
    weight, bias = (p.detach().clone().requires_grad_() for p in mine.parameters())
    found = train(mine, Noise(), told(0.0)[0], replace(RULES, steps=4), 0, 0)
    optimiser = torch.optim.AdamW([weight, bias], lr=0.1, weight_decay=0.01)
    for batch in chain(Noise().epoch(0, 4, 0), Noise().epoch(1, 4, 0)):
        scores = F.interpolate(F.conv2d(batch.features, weight, bias), (8, 8), mode="bilinear")
        optimiser.zero_grad()
        dice_loss(scores, batch.masks).backward()
        optimiser.step()
        if optimiser.state[weight]["step"] == 4:
            break
    torch.testing.assert_close(found.last["layers.0.weight"], weight.detach())
    torch.testing.assert_close(found.last["layers.0.bias"], bias.detach())


def test_the_best_checkpoint_is_kept_and_the_first_among_equals():
    score, asked = told(0.1, 0.5, 0.3, 0.5)
    run = train(decoder(), Noise(), score, RULES, 3, 0)
    assert (run.run, run.selected_value, run.selected) == (3, 0.5, {"step": 6})  # an epoch is three steps
    assert len(asked) == 4
    assert same(run.params, asked[1])
    assert same(run.last, asked[3])
    assert not same(run.params, run.last)


def test_a_score_of_nothing_is_better_than_no_checkpoint():
    run = train(decoder(), Noise(), told(0.0)[0], RULES, 0, 0)
    assert (run.selected_value, run.selected) == (0.0, {"step": 3})


@pytest.mark.parametrize(("every", "evaluations"), [(None, 4), (1, 12), (5, 2), (12, 1)])
def test_evaluations_come_every_so_many_steps_or_after_every_epoch(every: int | None, evaluations: int):
    score, asked = told(0.5)
    train(decoder(), Noise(), score, replace(RULES, evaluate_every=every), 0, 0)
    assert len(asked) == evaluations


@pytest.mark.parametrize(("patience", "steps"), [(None, 12), (1, 6), (2, 9), (3, 12), (200, 12)])
def test_patience_counts_evaluations_without_improvement(patience: int | None, steps: int):
    done: list[int] = []
    run = train(decoder(), Noise(), told(0.5, 0.4)[0], replace(RULES, patience=patience), 0, 0, done.append)
    assert done == list(range(1, steps + 1))
    assert run.selected == {"step": 3}


def test_improvement_renews_patience():
    done: list[int] = []
    score, _ = told(0.1, 0.0, 0.2, 0.0, 0.3)
    train(decoder(), Noise(), score, replace(RULES, steps=100, evaluate_every=2, patience=2), 0, 0, done.append)
    assert done[-1] == 14


def test_steps_end_in_the_middle_of_an_epoch_and_the_order_is_the_seeds():
    source, done = Noise(), []
    train(decoder(), source, told(0.5)[0], replace(RULES, steps=7), 0, 11, done.append)
    assert done[-1] == 7
    assert source.epochs == [(0, 11), (1, 11), (2, 11)]


def test_fewer_steps_than_an_evaluation_takes_still_give_a_checkpoint(tmp_path: Path):
    score, asked = told(0.25)
    run = train(decoder(), Noise(), score, replace(RULES, steps=2), 0, 0)
    assert (run.selected_value, run.selected, len(asked)) == (0.25, {"step": 2}, 1)
    assert same(run.params, run.last)
    write_run(tmp_path, run, "key")
    assert len(load_file(tmp_path / "run0.safetensors")) == 4


@pytest.mark.parametrize("by", ["step", "epoch"])
@pytest.mark.parametrize("decay", [0.0, 0.9, 2.0])
def test_the_learning_rate_decays_by_a_power_of_what_is_left(decay: float, by: str, monkeypatch: pytest.MonkeyPatch):
    rates = []

    class Watched(torch.optim.AdamW):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    source = Noise()
    train(decoder(), source, told(0.5)[0], replace(RULES, decay=decay, decay_by=by), 0, 0)
    in_an_epoch = 1 if by == "step" else -(-len(source) // RULES.batch_size)
    assert rates == pytest.approx([0.1 * (1 - k // in_an_epoch / 12) ** decay for k in range(12)])


def test_evaluation_leaves_training_mode_as_it_was():
    modes = []

    class Watched(nn.Conv2d):
        def forward(self, features, images):
            modes.append(self.training)
            return super().forward(features)

    train(Watched(3, 2, 1), Noise(), told(0.5)[0], RULES, 0, 0)
    assert modes == [True] * 12


@pytest.mark.parametrize("head", [LinearSeg(), ConvSegImage(), WithDropout()], ids=lambda head: type(head).__name__)
def test_a_run_is_its_seed_whatever_ran_before(head: SegmentationHead):
    runs = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        runs.append(train(decoder(head, 5), Noise(), told(0.1, 0.2)[0], RULES, 0, 5))
    assert same(runs[0].params, runs[1].params)
    assert same(runs[0].last, runs[1].last)
    other = train(decoder(head, 6), Noise(), told(0.1, 0.2)[0], RULES, 1, 6)
    assert not same(runs[0].last, other.last)


def test_the_generator_of_torch_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(decoder(WithDropout()), Noise(), told(0.5)[0], RULES, 0, 0)
    assert torch.equal(torch.rand(3), expected)


def test_logits_are_brought_to_the_size_of_the_mask():
    features = torch.rand(2, 3, 4, 4)
    layer = decoder()
    found = logits(layer, features, torch.rand(2, 3, 9, 9), 9)
    torch.testing.assert_close(found, F.interpolate(layer(features, features), (9, 9), mode="bilinear"))
    torch.testing.assert_close(logits(layer, features, features, 4), layer(features, features))


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """Tiles in which the colour of a pixel is its class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVA_CACHE", str(tmp_path_factory.mktemp("painted")))
        yield laid_out(Painted(train=[(32, 32)] * 4, val=[(20, 24)] * 2), recipe=protocol(overlap=0))


@pytest.mark.parametrize("loss", ["dice", "dice_ce"])
@pytest.mark.parametrize("flips", [False, True])
def test_colours_are_learnt(painted: Context, loss: str, flips: bool):
    section = replace(painted.section, loss=loss, lr=0.2, steps=60)
    select = painted.store.rows("val")
    mine = new_decoder(LinearSeg(), painted.store.channels, 3, 0, CPU)
    before = mean_dice(painted, mine, select)
    source = painted.stored(painted.store.rows("train"), flips)
    run = train(mine, source, lambda d: mean_dice(painted, d, select), section, 0, 0)
    assert run.selected_value > max(0.95, before)
