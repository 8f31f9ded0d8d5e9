"""Two processes equal one with the joined batch: values, and gradients averaged over ranks as DDP does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.testing import assert_close

from eva_pretrain.distributed import all_reduce_max, all_reduce_sum, gather, rank, world
from eva_pretrain.losses.dino import dino_loss, dinov2_loss
from eva_pretrain.losses.ibot import ibot_loss
from eva_pretrain.losses.kde import kde
from eva_pretrain.losses.koleo import koleo
from eva_pretrain.losses.teacher_targets import Centring, sinkhorn
from eva_pretrain.optimisation.optimizer import clip, update_teacher

RANKS, IMAGES, DIM, PROTOTYPES = 2, 6, 5, 7
UNEVEN = (0, 2, 7)
"""Rank 0 has rows 0 and 1, rank 1 has five rows."""

Loss = Callable[[Tensor, slice], Tensor]


def data(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def of_dino(weight: Tensor, images: slice) -> Tensor:
    crops = data(4, IMAGES, DIM)[:, images]
    targets = data(2, IMAGES, PROTOTYPES, seed=1)[:, images].softmax(-1)
    return dino_loss(crops @ weight, targets)


def of_dinov2(weight: Tensor, images: slice) -> Tensor:
    crops = data(5, IMAGES, DIM)[:, images]
    logits = data(2, IMAGES, PROTOTYPES, seed=1)[:, images]
    targets = sinkhorn(logits.flatten(0, 1), 0.07).view_as(logits)
    return torch.stack(dinov2_loss(crops[:2] @ weight, crops[2:] @ weight, targets)).sum()


def of_ibot(weight: Tensor, images: slice) -> Tensor:
    masks = torch.tensor([[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]]).bool()
    masks = masks[images]
    patches, logits = data(IMAGES, 3, DIM)[images][masks], data(IMAGES, 3, PROTOTYPES, seed=1)[images][masks]
    weights = (1 / masks.sum(1).clamp(min=1))[:, None].expand_as(masks)[masks]
    return ibot_loss(patches @ weight, sinkhorn(logits, 0.07), weights, images=len(masks))


def of_koleo(weight: Tensor, images: slice) -> Tensor:
    return koleo(data(IMAGES, DIM)[images] @ weight)


def of_kde(weight: Tensor, images: slice) -> Tensor:
    return kde(data(IMAGES, DIM)[images] @ weight)


LOSSES: dict[str, Loss] = {"dino": of_dino, "dinov2": of_dinov2, "ibot": of_ibot, "koleo": of_koleo, "kde": of_kde}


def share(uneven: tuple[int, ...] | None = None) -> slice:
    """This rank's rows; all of them in a process by itself."""
    if world() == 1:
        return slice(None)
    bounds = uneven or tuple(range(0, IMAGES + 1, IMAGES // RANKS))
    return slice(bounds[rank()], bounds[rank() + 1])


def measure() -> dict[str, Tensor]:
    """Everything that must be the same, however many processes work on it."""
    found = {}
    for name, loss in LOSSES.items():
        weight = data(DIM, PROTOTYPES, seed=2).requires_grad_()
        value = loss(weight, share())
        value.backward()
        assert weight.grad is not None
        found[name] = all_reduce_sum(value) / world()
        found[f"{name} gradient"] = all_reduce_sum(weight.grad) / world()
    logits = data(7, PROTOTYPES, seed=3) * 50
    for name, bounds in {"uneven": UNEVEN, "none on rank 0": (0, 0, 7)}.items():
        mine = share(bounds)
        probabilities = torch.zeros(7, PROTOTYPES)
        probabilities[mine] = sinkhorn(logits[mine], 0.04)
        found[f"sinkhorn, {name}"] = all_reduce_sum(probabilities)
        centring = Centring(PROTOTYPES)
        centring.update(logits[mine])
        found[f"centre, {name}"] = centring.centre
        broken = logits.clone()
        broken[0] = torch.nan  # seen by one rank, ignored by all
        centring.update(broken[mine])
        found[f"centre after a broken batch, {name}"] = centring.centre
    return found


def work(number: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=RANKS)
    found = measure() | measure_shards()
    x = torch.full((2, 3), float(number))
    found |= {"sum": all_reduce_sum(x), "max": all_reduce_max(x), "gathered": gather(x), "itself": x}
    torch.save(found, f"{folder}/{number}.pt")
    dist.destroy_process_group()


def measure_shards() -> dict[str, Tensor]:
    """Clipping and the teacher's step, on parameters that FSDP2 would have cut."""
    cut = dist.is_initialized()
    mesh = init_device_mesh("cpu", (RANKS,)) if cut else None

    def module(seed: int) -> nn.Module:
        made = nn.Linear(3, 5)
        for i, (name, parameter) in enumerate(list(made.named_parameters())):
            value, grad = data(*parameter.shape, seed=seed + i), data(*parameter.shape, seed=seed + 10 + i)
            if mesh is not None:
                value, grad = (distribute_tensor(part, mesh, [Shard(0)]) for part in (value, grad))
            setattr(made, name, nn.Parameter(value))
            getattr(made, name).grad = grad
        return made

    teacher, student, plain = module(20), module(40), nn.Parameter(torch.zeros(2))
    plain.grad = torch.tensor([3.0, 4.0])  # not cut, beside the others
    found = {"norm": clip([[student.weight, plain], [student.bias]], 1.0), "plain": plain.grad}
    found |= {f"clipped {name}": p.grad for name, p in student.named_parameters() if p.grad is not None}
    update_teacher(teacher, student, 0.75)
    found |= {f"teacher {name}": p.detach() for name, p in teacher.named_parameters()}
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in found.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """What each of two processes has."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, (str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"{number}.pt") for number in range(RANKS)]


def test_two_processes_equal_one(found: list[dict[str, Tensor]]) -> None:
    expected = measure() | measure_shards()
    assert len(expected) == 10 + 6 + 6
    for one in found:
        for name, value in expected.items():
            assert_close(one[name], value, atol=1e-5, rtol=1e-5, msg=lambda said, n=name: f"{n}: {said}")


def test_reductions_and_rows_are_in_the_order_of_ranks(found: list[dict[str, Tensor]]) -> None:
    for number, one in enumerate(found):
        assert torch.equal(one["sum"], torch.ones(2, 3))
        assert torch.equal(one["max"], torch.ones(2, 3))
        assert one["gathered"].tolist() == [[0.0] * 3] * 2 + [[1.0] * 3] * 2
        assert torch.equal(one["itself"], torch.full((2, 3), float(number)))


def test_a_process_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for available in (True, False):
        monkeypatch.setattr(dist, "is_available", lambda available=available: available)
        x = torch.ones(2, 3, requires_grad=True)
        assert (world(), rank()) == (1, 0)
        assert gather(x) is x
        for reduced in (all_reduce_sum(x), all_reduce_max(x)):
            assert torch.equal(reduced, x)
            assert not reduced.requires_grad
            assert reduced.data_ptr() != x.data_ptr()
