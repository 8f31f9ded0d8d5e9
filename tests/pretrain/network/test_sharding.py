"""A network that is divided among one device gives the same outputs and gradients, and says that it is divided."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from eva_pretrain.network.sharding import shard, sharded
from eva_pretrain.network.vit import Architecture, Vit
from eva_pretrain.optimisation.optimizer import update_teacher


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[DeviceMesh]:
    """One CPU process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def networks() -> tuple[nn.Sequential, nn.ModuleDict]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 6), nn.GELU())), nn.ModuleDict(
        {"dino": nn.Linear(6, 3)}
    )


def test_outputs_and_gradients_stay(mesh):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    plain, plain_heads = networks()
    expected = plain_heads["dino"](plain(x))
    expected.square().sum().backward()
    vit, heads = networks()
    assert not sharded(vit)
    shard(vit, vit[1], heads, mesh, half=False)
    assert sharded(vit)
    assert all(isinstance(p, DTensor) for p in (*vit.parameters(), *heads.parameters()))
    out = heads["dino"](vit(x))
    torch.testing.assert_close(out, expected)
    out.square().sum().backward()
    for ours, theirs in zip(vit.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.full_tensor(), theirs.grad)


@pytest.mark.parametrize("arch", ["vit_small_patch16_dinov3", "vit_small_patch16_rope_mixed_224"])
def test_a_rotary_network_is_divided_and_becomes_another_teacher(mesh, arch):
    images, small = torch.randn(2, 3, 32, 32), torch.randn(3, 3, 16, 16)
    architecture = Architecture(arch, 32, {"depth": 2, "embed_dim": 24, "num_heads": 1})
    plain, divided, other = (Vit(architecture, student=False, masked=False) for _ in range(3))
    divided.load_state_dict(plain.state_dict())
    for vit in (divided, other):
        shard(vit, vit.network.blocks, nn.ModuleDict(), mesh, half=False)
    expected, _ = plain(images, None, small)
    tokens, _ = divided(images, None, small)
    torch.testing.assert_close(tokens.patches, expected.patches)
    update_teacher(other, divided, momentum=0.0)  # as a Gram teacher is renewed
    torch.testing.assert_close(other(images).cls, expected.cls)
    for found, wanted in ((tokens, divided), (expected, plain)):
        (found.cls.square().sum() + found.patches.square().sum()).backward()
        assert wanted.network.blocks[0].attn.proj.weight.grad is not None
    for ours, theirs in zip(divided.parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad.full_tensor(), theirs.grad)


def test_weights_are_gathered_three_times_in_a_step():
    """Forward and backward of the student for crops of both sizes, and forward of the teacher, on one of 8 devices."""
    dist.init_process_group("fake", rank=0, world_size=8, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (8,))
        small = {"depth": 4, "embed_dim": 24, "num_heads": 3}
        options = {"drop_path": 0.4, "drop_path_everywhere": True, "drop_path_subset": True}
        student, teacher = (
            Vit(Architecture("vit_tiny_patch16_224", 32, small, **options), s, True) for s in (True, False)
        )
        for vit in (student, teacher):
            shard(vit, vit.network.blocks, nn.ModuleDict(), mesh, half=False)
        with Gathers() as gathers:
            with torch.no_grad():
                teacher(torch.randn(4, 3, 32, 32))
            tokens, local = student(torch.randn(4, 3, 32, 32), None, torch.randn(6, 3, 16, 16))
            (tokens.cls.sum() + local.cls.sum()).backward()
        assert gathers.count == 3 * (4 + 1)  # of each block, and of the rest
    finally:
        dist.destroy_process_group()


def test_copies_of_a_network_are_divided_within_themselves():
    dist.init_process_group("fake", rank=0, world_size=8, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (2, 4), mesh_dim_names=("copies", "devices"))
        vit, heads = networks()
        shard(vit, vit[1], heads, mesh, half=False)
        for parameter in (*vit.parameters(), *heads.parameters()):
            assert isinstance(parameter, DTensor)
            assert parameter.placements == (Replicate(), Shard(0))
            assert len(parameter.to_local()) == -(-len(parameter) // 4)  # rank 0 has the first rows of four parts
    finally:
        dist.destroy_process_group()


class Gathers(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += "all_gather" in str(function)
        return function(*args, **(kwargs or {}))
