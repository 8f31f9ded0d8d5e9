"""Base of all methods: a student that is trained, a teacher that follows it, and the steps of the training."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from typing_extensions import override

from eva_core.accelerator import is_gpu
from eva_core.errors import EvaError, UsageError, refuse
from eva_pretrain.augment.views import Crops, Views, make_crops
from eva_pretrain.data.stream import Batch
from eva_pretrain.distributed import all_reduce_sum
from eva_pretrain.losses.targets import Targets
from eva_pretrain.network.sharding import shard, sharded
from eva_pretrain.network.vit import Architecture, Tokens, Vit
from eva_pretrain.optimisation.optimizer import clip, make_states, parameter_groups, set_hyperparameters, update_teacher
from eva_pretrain.optimisation.recipe import Recipe, Schedule


@dataclass(frozen=True)
class Setup:
    """Settings that every method takes.

    Attributes:
        architecture: The network.
        views: Crops of a patch that it sees.
        recipe: Numbers of the optimisation.
        batch_size: Patches of a batch of one device.
        seed: Seed of weights, crops, masks and stochastic depth.
        most_skipped: Number of steps in a row without a finite loss, at which the run stops.
    """

    architecture: Architecture
    views: Views
    recipe: Recipe
    batch_size: int
    seed: int = 0
    most_skipped: int = 10

    def __post_init__(self) -> None:
        refuse(
            (not 0 <= self.seed < 2**63, "seed of at least 0 and below 2^63", self.seed),
            (self.most_skipped < 1, "most_skipped of at least 1", self.most_skipped),
            (
                self.views.global_size != self.architecture.size,
                f"views.global_size to be vit.size, {self.architecture.size}",
                self.views.global_size,
            ),
        )


class Network(nn.Module):
    """Student or teacher: a ViT and its projection heads."""

    def __init__(self, vit: Vit, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.vit, self.heads = vit, nn.ModuleDict(heads)


class Method(LightningModule, ABC):
    """Training of a student, with its moving average as the teacher; a subclass gives the heads and the losses.

    Attributes:
        masked_share: Share of the patches of the global crops that the student does not see.
        heads_first: Whether the projection heads train alone at first; set where initial weights come without heads.
        skipped: Number of optimiser steps that were skipped, as the loss or the gradient was not finite.
        teacher_probabilities: Targets of the class tokens of the last step, (2 B, K), for the monitor.
        terms: Loss and its terms, scalars by name, for each batch of the last optimiser step.
        gradient_norm: Greatest norm of the gradients of the last optimiser step before they were clipped, of those that
            are clipped together (a parameter or a module), a scalar.
    """

    masked_share = 0.0

    def __init__(self, setup: Setup, heads: Callable[[int], Mapping[str, nn.Module]], masked: bool) -> None:
        """Build student and teacher with the same random weights.

        Args:
            setup: The settings.
            heads: Makes the projection heads, by name, for tokens of a width.
            masked: Whether patches are hidden from the student.
        """
        super().__init__()
        self.setup_ = setup
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setup.seed)
            vit = Vit(setup.architecture, student=True, masked=masked)
            _check_crops(setup.views, max(vit.network.patch_embed.patch_size))
            self.student = Network(vit, heads(vit.dim))
            self.teacher = Network(Vit(setup.architecture, student=False, masked=masked), heads(vit.dim))
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
        self.heads_first = False
        self.skipped = self._skipped_in_a_row = 0
        self._batch: int | None = None  # patches of an optimiser step over all devices
        self._finite: list[Tensor] = []  # whether the loss was finite, for each batch of this optimiser step
        self.teacher_probabilities: Tensor | Targets | None = None
        self.terms: list[dict[str, Tensor]] = []
        self.gradient_norm: Tensor | None = None

    @property
    def networks(self) -> list[Network]:
        """Networks that are divided among devices by FSDP2; the first is trained, the others stay in eval mode."""
        return [self.student, self.teacher]

    @property
    def teachers(self) -> tuple[int, ...] | None:
        """Side in pixels of the global crops that each network beside the student saw last; None: of another kind."""
        return (self.setup_.views.global_size,)

    @property
    def large_size(self) -> int | None:
        """Side in pixels in which `losses` takes the global crops a second time at this step; None: not."""
        return None

    @abstractmethod
    def losses(self, crops: Crops, temperature: float) -> dict[str, Tensor]:
        """Compute the weighted terms of the loss of one batch, scalars by name.

        Args:
            crops: Crops as `make_crops` gives them.
            temperature: Temperature of the teacher.
        """

    @property
    def compiled(self) -> bool:
        """Whether blocks run compiled, and losses and targets with them."""
        return self.student.vit.compiled

    def student_tokens(self, crops: Crops, masked: Tensor | None = None) -> tuple[Tokens, Tensor]:
        """Compute the student's tokens of the global crops, and its class tokens of the local ones, (L B, D).

        Both go through the network together, which gathers the weights of a sharded one once.

        Args:
            crops: Crops of B patches.
            masked: True where a patch of the global crops is hidden, bool (2 B, patches).
        """
        if not len(crops.local):  # a ViT takes no empty batch
            tokens: Tokens = self.student.vit(crops.global_, masked)
            return tokens, tokens.cls[:0]
        tokens, local = self.student.vit(crops.global_, masked, crops.local)
        return tokens, local.cls

    @override
    def on_fit_start(self) -> None:
        """Compile the blocks where the settings leave that to the device, and it is a GPU."""
        if self.setup_.architecture.compile == "auto" and is_gpu(self.device):
            for network in self.networks:
                network.vit.compile_blocks()
        if self.compiled:
            torch.compiler.reset()  # graphs of an earlier run count, and torch makes no more than 8 of a function

    @override
    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Compute the loss of a batch of patches; where it is not finite, the optimiser step will be skipped."""
        # all random numbers depend on the seed and the patches alone, so that a run can resume anywhere
        torch.manual_seed(_seed(self.setup_.seed, int(batch.number[0])))
        with torch.autocast(self.device.type, enabled=False):
            crops = make_crops(batch.pixels, self.setup_.views, None, self.large_size)
        terms = self.losses(crops, self.schedule(self.global_step).temperature)
        loss = torch.stack([*terms.values()]).sum()
        if not self._finite:  # the first batch of an optimiser step
            self.terms.clear()
        self.terms.append({"loss": loss.detach(), **{f"loss/{name}": term.detach() for name, term in terms.items()}})
        self._finite.append(self._finite_everywhere(loss))
        return loss

    @override
    def configure_model(self) -> None:
        """Divide student and teacher among the devices, where the strategy is FSDP2."""
        if self.device_mesh is None or sharded(self.student.vit):
            return
        half = self.trainer.precision == "bf16-mixed"
        mesh = (
            self.device_mesh["data_parallel"] if self.device_mesh["tensor_parallel"].size() == 1 else self.device_mesh
        )
        for network in self.networks:
            blocks = network.vit.network.blocks
            shard(network.vit, blocks, network.heads, mesh, half)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build AdamW; its values are set anew for every step."""
        recipe = self.setup_.recipe
        groups = parameter_groups(
            self.student.vit, self.student.heads, recipe.layer_decay, recipe.patch_embed, recipe.decay_rule
        )
        # with float16, a fused AdamW takes gradients that are still scaled, so that they could not be clipped
        fused = self.trainer.precision != "16-mixed"
        optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=fused)
        make_states(optimizer)
        return optimizer

    @override
    def on_train_start(self) -> None:
        """Fix the schedule, now that a checkpoint has been read with any strategy.

        Raises:
            UsageError: The run was started with another batch size over all devices.
        """
        batch = self.setup_.batch_size * self.trainer.world_size * self.trainer.accumulate_grad_batches
        if self._batch not in (None, batch):
            raise UsageError(
                f"Expected a batch of {self._batch} patches over all devices, as the run has, but got {batch}. "
                "Give it as many devices, or another --output."
            )
        self._batch = batch
        self.schedule = Schedule(self.setup_.recipe, batch, self.heads_first)

    @override
    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip gradients by the norm of each parameter or module; drop them where the loss or a norm is not finite.

        Raises:
            EvaError: They were not finite for too many steps in a row.
        """
        if self.schedule(self.global_step).heads_alone:
            _drop_gradients(self.student.vit)
        if self.setup_.recipe.clip_by == "parameter":
            sets = [[p] for p in self.student.parameters()]
        else:
            sets = [list(m.parameters()) for m in (self.student.vit, *self.student.heads.values())]
        norm = clip(sets, self.setup_.recipe.clip)
        self.gradient_norm = norm.detach()
        # the only time in a step that waits for the device
        *losses, gradient = torch.stack([*self._finite, norm.isfinite()]).tolist()
        self._finite.clear()
        if all(losses) and gradient:
            self._skipped_in_a_row = 0
        else:
            _drop_gradients(self.student)
            self._skip("gradient" if all(losses) else "loss")

    @override
    def optimizer_step(self, epoch: int, index: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Update the student, then move the teacher towards it."""
        values = self.schedule(self.global_step)
        set_hyperparameters(optimizer, values.lr, values.weight_decay, values.last_layer_lr)
        optimizer.step(closure=optimizer_closure)
        update_teacher(self.teacher, self.student, values.momentum)

    @override
    def train(self, mode: bool = True) -> "Method":
        """Set the training mode of the student; the teacher and others stay in eval mode."""
        super().train(mode)
        for network in self.networks[1:]:
            network.eval()
        return self

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["eva"] = {
            "skipped": self.skipped,
            "in_a_row": self._skipped_in_a_row,
            "heads_first": self.heads_first,
            "batch": self._batch,
        }

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["eva"]
        self._batch = state["batch"]
        self.skipped, self._skipped_in_a_row = state["skipped"], state["in_a_row"]
        self.heads_first = state["heads_first"]

    def _finite_everywhere(self, loss: Tensor) -> Tensor:
        """Whether the loss is finite on all devices, a scalar: they skip a step together, so as not to differ."""
        return all_reduce_sum((~loss.detach().isfinite()).float()) == 0

    def _skip(self, what: str) -> None:
        self.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= self.setup_.most_skipped:
            raise EvaError(
                f"Expected a finite {what}, but it was not for {self._skipped_in_a_row} steps in a row, up to step "
                f"{self.global_step}. Start anew from its checkpoint with a lower recipe.lr, in another --output."
            )


def _check_crops(views: Views, patch: int) -> None:
    for name in ("global_size", "local_size"):
        if (size := getattr(views, name)) % patch:
            raise UsageError(
                f"Expected views.{name} to be a multiple of the patch of {patch} px, but got {size}. "
                f"Try {size // patch * patch or patch}."
            )


def _drop_gradients(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.grad = None


def _seed(seed: int, number: int) -> int:
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
