"""What runs on a GPU, tried where there is none: tensors that only have a shape and a device, which must never mix."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from eva_core.classification import gradient_head as training
from eva_core.contracts.head import Embedded, FittingData
from eva_core.contracts.protocol import Protocol
from eva_core.extraction.pixels import colour_statistics, normalised
from eva_pretrain.augment.views import Views, make_crops
from eva_pretrain.data.stream import Batch
from eva_pretrain.methods import dinov2
from eva_pretrain.methods.base import Method, Setup
from eva_pretrain.methods.dino import Dino
from eva_pretrain.methods.dinov2 import DinoV2, hidden_rows
from eva_pretrain.optimisation.optimizer import clip, update_teacher
from eva_pretrain.optimisation.recipe import Recipe
from eva_vision.heads.linear import Linear
from eva_vision.heads.mlp import Mlp
from eva_vision.models.timm import timm_model
from eva_vision.segmentation.decoders.heads import ConvSeg, ConvSegImage, LinearSeg
from eva_vision.segmentation.decoders.losses import dice_ce_loss, dice_loss
from tests.pretrain.methods.test_dinov2 import ARCHITECTURE

HEADS = {"prototypes": 32, "hidden": 16, "bottleneck": 8}
VIEWS = Views(global_size=32, local_size=16, stain=0.05, solarise=(0.1, 0.1, 0.1))


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """A GPU of which torch knows no more than its name."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield torch.device("cuda", 0)


def moved(module: nn.Module, device: torch.device) -> nn.Module:
    """The module on a device that has no memory to copy to."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(torch.empty_like(value, device=device), value.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty_like(buffer, device=device)
    return module


def test_tensors_of_two_devices_do_not_mix(gpu: torch.device):
    with pytest.raises(RuntimeError, match="device"):
        torch.empty(2, device=gpu) + torch.empty(2)


CASES = [(Dino, {}), (DinoV2, {}), (DinoV2, {"targets": "centring", "spread": "kde"}), (DinoV2, {"ibot_head": False})]


@pytest.mark.parametrize(("kind", "more"), CASES)
def test_a_step_of_pretraining(kind: type[Method], more: dict, monkeypatch: pytest.MonkeyPatch):
    rows = hidden_rows(torch.rand(8, 16) < 0.3)
    monkeypatch.setattr(dinov2, "hidden_rows", lambda masked: rows)  # how many depends on values
    method = kind(Setup(ARCHITECTURE, VIEWS, Recipe(), batch_size=4), **HEADS, **more)
    with FakeTensorMode(allow_non_fake_inputs=True):
        device = torch.device("cuda", 0)
        moved(method, device)
        crops = make_crops(torch.empty(4, 3, 48, 48, dtype=torch.uint8, device=device), VIEWS)
        if isinstance(method, DinoV2):
            terms = method.losses_with(crops, torch.empty(8, 16, dtype=torch.bool), 0.05)
        else:
            terms = method.losses(crops, 0.05)
        assert {term.device for term in terms.values()} == {device}
        assert {term.dtype for term in terms.values()} == {torch.float32}
        for frozen in (True, False):  # a step of which the backbone has no gradient
            for parameter in method.student.parameters():
                parameter.grad = None if frozen else torch.empty_like(parameter)
            assert clip([list(method.student.parameters())], 3.0).device == device
        update_teacher(method.teacher, method.student, 0.9)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("head", [Linear(), Mlp(hidden=8)], ids=["linear", "mlp"])
def test_heads_train_where_their_embeddings_lie(head, classes, gpu, monkeypatch: pytest.MonkeyPatch):
    evaluated = []

    def evaluate(self, tracks, params, step):  # scores are values, of which there are none
        evaluated.append(self.head.logits({name: p[0] for name, p in params.items()}, self.select.x))
        for track in tracks:
            track.best = {name: p[0] for name, p in params.items()}

    monkeypatch.setattr(training._Fit, "_evaluate", evaluate)
    monkeypatch.setattr(type(head), "gradients", _without_autograd(type(head)))
    y = torch.empty(10, dtype=torch.int64, device=gpu)
    data = Embedded(torch.empty(10, 6, device=gpu), y)
    monkeypatch.setattr(
        training, "unseen_classes", lambda y, classes: {training.UNSEEN: torch.empty(classes, device=y.device)}
    )
    monkeypatch.setattr(nn.functional, "one_hot", lambda y, classes: torch.empty(len(y), classes, device=y.device))
    fitted = head.fit(FittingData(data, data, classes, range(2)), Protocol("fake", steps=3, batch_size=4))
    assert {logits.device for logits in evaluated} == {gpu}
    assert {value.device for run in fitted for value in run.params.values()} == {gpu}


def _without_autograd(kind: type):
    """The gradients of a head that has them in closed form; of others the forward pass alone."""
    if kind is Linear:
        return Linear.gradients

    def gradients(self, params: dict[str, Tensor], x: Tensor, targets: Tensor, out: dict[str, Tensor]) -> None:
        training.loss_gradient(self.forward(params, x), targets)

    return gradients


@pytest.mark.parametrize("head", [LinearSeg(), ConvSeg(), ConvSegImage()], ids=lambda head: type(head).__name__)
def test_decoders(head):
    decoder = head.decoder(8, 3)
    with FakeTensorMode(allow_non_fake_inputs=True):
        gpu = torch.device("cuda", 0)
        moved(decoder, gpu)
        logits = decoder(torch.empty(2, 8, 4, 4, device=gpu), torch.empty(2, 3, 16, 16, device=gpu))
        whole = nn.functional.interpolate(logits, (16, 16), mode="bilinear")
        masks = torch.empty(2, 16, 16, dtype=torch.int64, device=gpu)
        for loss in (dice_loss, dice_ce_loss):
            assert loss(whole, masks).device == gpu


def test_extraction():
    backbone = timm_model("vit_tiny_patch16_224", depth=1)
    with FakeTensorMode(allow_non_fake_inputs=True):
        gpu = torch.device("cuda", 0)
        moved(backbone, gpu)
        pixels = torch.empty(2, 3, 224, 224, dtype=torch.uint8, device=gpu).float().div_(255)
        assert colour_statistics(pixels).device == gpu
        assert backbone(normalised(pixels, backbone)).device == gpu


def test_a_batch_keeps_its_kind_when_it_is_pinned(monkeypatch: pytest.MonkeyPatch):
    from torch.utils.data._utils import pin_memory

    pinned = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda self, *_: pinned.append(self.shape) or self)
    fields = dict.fromkeys(Batch._fields) | {"pixels": torch.zeros(2, 3, 4, 4, dtype=torch.uint8)}
    batch = pin_memory.pin_memory(Batch(**fields))
    assert type(batch) is Batch
    assert pinned == [(2, 3, 4, 4)]
