"""A timm network as a backbone: how it is built, what it gives, and the card that timm's knowledge makes."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import timm
import torch
import torch.nn.functional as F
from huggingface_hub.errors import GatedRepoError
from torch import Tensor, nn
from typing_extensions import override

from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import Geometry, ModelCard
from eva_core.errors import EvaError, UsageError
from eva_core.hub.weight_files import HUB, HubFile, held_by_hub_cache
from eva_vision.models.weights import Convert, gated, load_weights, one_line, provenance


def build(
    arch: str,
    pretrained: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | None = None,
    arch_args: dict[str, Any] | None = None,
    layer: int | None = None,
    kind: "type[TimmBackbone] | None" = None,
) -> "TimmBackbone":
    """Build a network of timm; its weights are random, from seed 0, unless `pretrained`.

    Args:
        arch: A name that `timm.create_model` takes.
        pretrained: Load the weights that timm knows for `arch`.
        mean: Per-channel mean for pixels in 0-1; timm's own unless given.
        std: Per-channel standard deviation for pixels in 0-1; timm's own unless given.
        size: Side of the image that the network is for, in pixels; timm's own unless given.
        arch_args: Architecture arguments for timm.
        layer: Embed by the mean over the feature map of this block or stage, counted from 0.
        kind: The class that holds the network.
    Raises:
        UsageError: timm does not know the architecture or an argument.
        EvaError: Its weights cannot be had.
    """
    network = _create(arch, pretrained, arch_args or {}, size)
    backbone = (kind or TimmBackbone)(network, arch, mean, std, size, arch_args, layer)
    if pretrained:
        backbone.provenance = _provenance(network, arch)
    return backbone


class TimmBackbone(Backbone):
    """A timm network without its classifier; a layer `token_head` of the network makes the embedding, if there is one.

    `network` is Any: timm's methods are not part of nn.Module's type.
    """

    def __init__(
        self,
        network: Any,
        arch: str,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size: int | None = None,
        arch_args: dict[str, Any] | None = None,
        layer: int | None = None,
    ) -> None:
        super().__init__(_card(network, arch, mean, std, size))
        self.network, self.layer = network, layer
        self._norms_maps = True
        arguments = {name: value for name, value in (("size", size), ("layer", layer)) if value is not None}
        self.arguments = {"arch": arch, **arguments, **(arch_args or {})}
        if layer is not None:
            info = network.feature_info[self._layers([layer])[0]]
            self.card = replace(self.card, dim=info["num_chs"], pooling="mean")

    def load(self, checkpoint: str, key: str | None = None, convert: Convert | None = None) -> None:
        """Load weights; the arguments are those of `eva_vision.models.weights.load_weights`.

        Raises:
            EvaError: They cannot be had, or do not fit (names the keys).
        """
        self.provenance = load_weights(self.network, checkpoint, _classifier_names(self.network), convert, key)

    @property
    def has_class_token(self) -> bool:
        """Whether token 0 is a class token."""
        return _has_class_token(self.network)

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> (B, D), or (B, 2 D) for `cls_mean`.

        A network without a class token, or with a head on its tokens, has one pooling, its own, whatever is asked for.
        """
        if self.layer is not None:
            return self.feature_map(images, [self.layer]).mean((2, 3))
        with self._explaining_sizes(images):
            features: Tensor = self.network.forward_features(images)
        return self._pooled(features)

    @override
    def embed_with_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> (B, D) and (B, D', h, w), as `forward` and `feature_map`, from one pass."""
        if self.layer is not None:
            return super().embed_with_map(images)
        last = self._layers([-1])
        with self._explaining_sizes(images):
            features, maps = self._intermediates(images, last, only=False)
        return self._pooled(features), maps[0]

    def _pooled(self, features: Tensor) -> Tensor:
        """Pool the output of the last layer."""
        if hasattr(self.network, "token_head"):
            embeddings: Tensor = self.network.token_head(features)
            return embeddings
        if not self.has_class_token:
            pooled: Tensor = self.network.forward_head(features, pre_logits=True)
            return pooled
        if self.pooling == "cls":
            return features[:, 0]
        mean = features[:, self.card.prefix_tokens :].mean(1)  # registers stay out of the mean
        mean = getattr(self.network, "fc_norm", nn.Identity())(mean)  # of networks that normalise after their mean
        return mean if self.pooling == "mean" else torch.cat([features[:, 0], mean], dim=1)

    @override
    def feature_map(self, images: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        """Normalised images (B, 3, H, W) -> (B, D' * len(layers), h, w); maps of several sizes take the first's.

        Without `layers` it is that of `layer`, else the last.
        """
        numbers = self._layers(layers or (-1 if self.layer is None else self.layer,))
        indices = sorted(set(numbers))  # timm gives each once, in the order of the network
        with self._explaining_sizes(images):
            by_layer: list[Tensor] = self._intermediates(images, indices, only=True)
        maps = [by_layer[indices.index(layer)] for layer in numbers]
        size = maps[0].shape[-2:]
        return torch.cat([m if m.shape[-2:] == size else F.interpolate(m, size, mode="bilinear") for m in maps], dim=1)

    def _intermediates(self, images: Tensor, indices: list[int], only: bool) -> Any:
        """Maps of some layers, behind the output of the last unless `only` they are wanted.

        Maps are as they are where a network has no norm for them, which timm says by an assertion.
        """
        for norm in (True, False) if self._norms_maps else (False,):
            try:
                return self.network.forward_intermediates(
                    images, indices=indices, norm=norm, output_fmt="NCHW", intermediates_only=only
                )
            except AssertionError as error:
                if not norm or "norm" not in str(error):
                    raise
                self._norms_maps = False
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _explaining_sizes(self, images: Tensor) -> Iterator[None]:
        """Explain a size that timm refuses: it asserts, or fails in a product of shapes; what fits is in its config."""
        try:
            yield
        except (AssertionError, ValueError, RuntimeError, IndexError) as error:
            made_for = self.arguments.get("size") or self.network.pretrained_cfg.get("input_size", (3, 224, 224))[-1]
            if isinstance(error, torch.OutOfMemoryError) or images.shape[-1] == made_for:
                raise
            raise UsageError(
                f"timm's {self.arguments['arch']} cannot take {images.shape[-2]} x {images.shape[-1]} px "
                f"({one_line(str(error), error)}). It is made for {made_for} px: "
                f"--protocol.geometry.resize {made_for} --protocol.geometry.crop {made_for}."
            ) from error

    def _layers(self, layers: Sequence[int]) -> list[int]:
        """Layers counted from 0, those below 0 from the end."""
        if not hasattr(self.network, "forward_intermediates"):
            raise UsageError(f"Expected an architecture with dense features, but timm's {self.card.name} has none.")
        depth = len(self.network.feature_info)
        try:
            return [range(depth)[layer] for layer in layers]
        except IndexError as error:
            raise UsageError(f"Expected layers from {-depth} to {depth - 1}, but got {list(layers)}.") from error


def _create(arch: str, pretrained: bool, arch_args: dict[str, Any], size: int | None = None) -> Any:
    """Build a network; random weights come from seed 0, whatever ran before."""
    if not arch.startswith(HUB) and not timm.is_model(arch.partition(".")[0]):
        raise UsageError(_unknown(arch))
    if size is not None and size < 1:
        raise UsageError(f"Expected argument size to be at least 1, but got {size}.")
    arch_args = {**arch_args, **layer_arguments(arch_args)}
    # Transformers take any multiple of the patch size when told so; convolutional networks know neither argument.
    sized = {"img_size": size, **arch_args} if size else arch_args
    attempts = ({"dynamic_img_size": True, **sized}, sized, arch_args)
    for attempt in attempts:
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                network = timm.create_model(arch, pretrained=pretrained, num_classes=0, **attempt)
        except TypeError as error:
            if attempt is attempts[-1]:
                raise UsageError(
                    f"timm's {arch} does not take these arguments: {one_line(str(error), error)}."
                ) from error
        except GatedRepoError as error:
            raise EvaError(gated(arch.removeprefix(HUB).partition("@")[0])) from error
        except Exception as error:  # timm checks arguments by assertions, divisions and look-ups
            raise _no_network(arch, pretrained, error) from error
        else:
            _check_size(network, size)
            return network
    raise AssertionError("the last attempt returns or raises")


LOADING = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Arguments by which timm itself reads files and addresses: `checkpoint` does so here, with what is checked."""


def layer_arguments(arch_args: dict[str, Any]) -> dict[str, Any]:
    """Find the class of `mlp_layer` by its name: timm finds activations so, but wants this layer as a class.

    Raises:
        UsageError: No such layer, or an argument by which timm would load something.
    """
    if loading := [name for name in LOADING if name in arch_args]:
        raise UsageError(f"Expected arguments of an architecture, but got {loading[0]}. Give weights as a checkpoint.")
    name = arch_args.get("mlp_layer")
    if not isinstance(name, str):
        return {}
    layer = getattr(timm.layers, name, None)
    network_class = getattr(layer, "func", layer)  # SwiGLUPacked is a partial
    if not (isinstance(network_class, type) and issubclass(network_class, nn.Module)):
        raise UsageError(f"Expected mlp_layer to be a name in timm.layers such as SwiGLUPacked, but got {name!r}.")
    return {"mlp_layer": layer}


def _check_size(network: Any, size: int | None) -> None:
    """Transformers cut the image into whole patches, and timm says so only when the first one comes."""
    embed = getattr(network, "patch_embed", None)
    if size is None or not hasattr(network, "num_prefix_tokens") or getattr(embed, "dynamic_img_pad", False):
        return
    patch = max(getattr(embed, "patch_size", (1,)))
    if size % patch:
        low = size // patch * patch
        raise UsageError(
            f"Expected argument size to be a multiple of the patch of {patch} px, but got {size}. "
            f"Try {f'{low} or ' if low else ''}{low + patch}."
        )


def _unknown(arch: str) -> str:
    stem = arch.partition(".")[0]
    names = timm.list_models()
    close = difflib.get_close_matches(stem, names, n=3) or [name for name in names if stem and stem in name][:3]
    hint = f"Did you mean {' or '.join(close)}?" if close else "`timm.list_models()` lists them."
    return f"Unknown timm architecture {arch!r}. {hint}"


def _no_network(arch: str, pretrained: bool, error: Exception) -> EvaError:
    reason = f"{type(error).__name__}: {one_line(str(error), error)}"
    if pretrained or arch.startswith(HUB):
        return EvaError(
            f"Cannot get the weights of {arch} ({reason}). Check the network, HF_TOKEN, or fill the cache elsewhere."
        )
    return UsageError(f"timm cannot build {arch} ({reason}). Check --model.size and the architecture arguments.")


def _provenance(network: Any, arch: str) -> dict[str, str]:
    """Say where timm's own weights came from; nothing where they are not from the hub."""
    source = arch.removeprefix(HUB) if arch.startswith(HUB) else network.pretrained_cfg.get("hf_hub_id") or ""
    repo, _, revision = source.partition("@")
    path = held_by_hub_cache(HubFile(repo, revision or None, "")) if "/" in repo else None
    return provenance(HUB + source, path) if path else {}


def _classifier_names(network: Any) -> tuple[str, ...]:
    names = network.pretrained_cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _has_class_token(network: Any) -> bool:
    """Whether token 0 is a class token: there are networks with registers and none."""
    return getattr(network, "num_prefix_tokens", 0) > 0 and getattr(network, "cls_token", None) is not None


def _card(
    network: Any, arch: str, mean: Sequence[float] | None, std: Sequence[float] | None, size: int | None
) -> ModelCard:
    """A card from what timm knows of the architecture."""
    config = network.pretrained_cfg
    side = size or config.get("input_size", (3, 224, 224))[-1]
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    prefix = int(getattr(network, "num_prefix_tokens", 0))
    interpolation = config.get("interpolation", "bilinear")
    return ModelCard(
        name=arch,
        dim=network.num_features if prefix else getattr(network, "head_hidden_size", network.num_features),
        mean=tuple(mean or config.get("mean", (0.5, 0.5, 0.5))),
        std=tuple(std or config.get("std", (0.5, 0.5, 0.5))),
        patch_size=patch[0] if isinstance(patch, tuple) else None,
        prefix_tokens=prefix,
        geometry=Geometry(
            resize=round(side / config.get("crop_pct", 1.0)),
            crop=side,
            interpolation=interpolation if interpolation in ("bilinear", "bicubic", "nearest") else "bilinear",
        ),
        pooling="cls" if _has_class_token(network) and network.global_pool == "token" else "mean",
        licence=config.get("license") or "unknown",
        source=config.get("hf_hub_id") or config.get("url") or "unknown",
    )
