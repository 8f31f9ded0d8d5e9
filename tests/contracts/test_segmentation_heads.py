"""What every registered head for masks promises."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eva_core import registry
from eva_vision.segmentation.contracts import SegmentationHead
from eva_vision.segmentation.decoders.losses import dice_ce_loss
from eva_vision.segmentation.decoders.training import logits, new_decoder

ENTRIES = [
    e for e in registry.heads.entries() if e.package == "eva-pathology" and issubclass(e.load(), SegmentationHead)
]
NAMES = [e.name for e in ENTRIES]
CPU = torch.device("cpu")


@pytest.fixture(params=NAMES)
def head(request: pytest.FixtureRequest) -> SegmentationHead:
    return registry.heads.build(request.param)


def fields(n: int, seed: int, side: int = 24, grid: int = 6, channels: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Feature maps and images that both tell the class of a cell, and masks."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(3, (n, grid, grid), generator=generator)
    features = F.one_hot(cells, channels).permute(0, 3, 1, 2).float()
    features = features + 0.1 * torch.randn(features.shape, generator=generator)
    masks = F.interpolate(cells[:, None].float(), (side, side), mode="nearest")[:, 0].long()
    images = F.one_hot(masks, 3).permute(0, 3, 1, 2).float()
    return features, images, masks


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_the_name_is_legal_and_unique(entry: registry.Entry):
    assert registry.NAME.fullmatch(entry.name)
    assert registry.heads.find(entry.name) == entry


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_documented_typed_and_have_defaults(name: str):
    cls = registry.heads.load(name)
    assert cls.__doc__
    for parameter in inspect.signature(cls).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty
        assert parameter.default is not inspect.Parameter.empty  # a head is asked for by its name alone
        assert f"{parameter.name}:" in f"{cls.__doc__}{cls.__init__.__doc__}"


@pytest.mark.parametrize(
    ("channels", "classes", "grid", "side"), [(3, 2, 1, 16), (7, 5, 4, 30), (20, 3, 14, 14), (1, 254, 2, 33)]
)
def test_a_decoder_takes_maps_of_any_depth_and_grid(
    head: SegmentationHead, channels: int, classes: int, grid: int, side: int
):
    decoder = new_decoder(head, channels, classes, 0, CPU)
    features, images = torch.rand(2, channels, grid, grid), torch.rand(2, 3, side, side)
    found = decoder(features, images)
    assert found.shape[:2] == (2, classes)
    assert torch.isfinite(found).all()
    assert logits(decoder, features, images, side).shape == (2, classes, side, side)


def test_weights_are_decided_by_the_seed_alone(head: SegmentationHead):
    decoders = []
    for disturbance, seed in ((1, 4), (2, 4), (1, 5)):
        torch.manual_seed(disturbance)
        decoders.append(new_decoder(head, 6, 3, seed, CPU).state_dict())
    one, again, other = decoders
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_decoder_is_whole_after_its_parameters_went_to_a_file(head: SegmentationHead):
    decoder, fresh = (new_decoder(head, 5, 3, seed, CPU) for seed in (0, 1))
    features, images, _ = fields(2, 0)
    decoder(features, images)  # what is counted while training goes along
    fresh.load_state_dict({name: value.contiguous() for name, value in decoder.state_dict().items()})
    with torch.inference_mode():
        assert torch.equal(decoder.eval()(features, images), fresh.eval()(features, images))


def test_what_it_says_of_a_tile_does_not_depend_on_the_others(head: SegmentationHead):
    decoder = new_decoder(head, 5, 3, 0, CPU).eval()
    features, images, _ = fields(3, 0)
    with torch.inference_mode():
        alone = torch.cat([decoder(f[None], i[None]) for f, i in zip(features, images, strict=True)])
        torch.testing.assert_close(decoder(features, images), alone, atol=1e-5, rtol=1e-4)


def test_its_input_is_left_alone(head: SegmentationHead):
    decoder = new_decoder(head, 5, 3, 0, CPU)
    features, images, _ = fields(2, 0)
    decoder(features, images)
    assert torch.equal(features, fields(2, 0)[0])
    assert torch.equal(images, fields(2, 0)[1])


def test_an_easy_problem_is_learnt(head: SegmentationHead):
    decoder = new_decoder(head, 5, 3, 0, CPU)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=0.02)
    features, images, masks = fields(8, 0)
    for _ in range(60):
        loss = dice_ce_loss(logits(decoder, features, images, 24), masks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    features, images, masks = fields(4, 1)
    with torch.inference_mode():
        found = logits(decoder.eval(), features, images, 24).argmax(1)
    assert (found == masks).float().mean() > 0.85
