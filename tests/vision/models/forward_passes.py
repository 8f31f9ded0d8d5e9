"""Published networks in plain torch, under their publishers' names: what a conversion of names is held against."""

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
GRID = 16


def hf_state(
    dim: int, patch: int, hidden: int, mlp: str, registers: int = 0, depth: int = 1, grid: int = GRID
) -> State:
    """Random weights under transformers' names. `mlp`: `vit` (ViTModel), `mlp` or `swiglu` (Dinov2Model)."""
    state = {
        "embeddings.cls_token": (1, 1, dim),
        "embeddings.position_embeddings": (1, 1 + grid**2, dim),
        "embeddings.patch_embeddings.projection.weight": (dim, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (dim,),
        "layernorm.weight": (dim,),
        "layernorm.bias": (dim,),
    }
    norms = ("layernorm_before", "layernorm_after") if mlp == "vit" else ("norm1", "norm2")
    layers = {
        "attention.attention.query": (dim, dim),
        "attention.attention.key": (dim, dim),
        "attention.attention.value": (dim, dim),
        "attention.output.dense": (dim, dim),
        **{
            "vit": {"intermediate.dense": (hidden, dim), "output.dense": (dim, hidden)},
            "mlp": {"mlp.fc1": (hidden, dim), "mlp.fc2": (dim, hidden)},
            "swiglu": {"mlp.weights_in": (2 * hidden, dim), "mlp.weights_out": (dim, hidden)},
        }[mlp],
    }
    for block in range(depth):
        for name, shape in layers.items():
            state[f"encoder.layer.{block}.{name}.weight"] = shape
            state[f"encoder.layer.{block}.{name}.bias"] = shape[:1]
        for name in norms:
            state |= {f"encoder.layer.{block}.{name}.{part}": (dim,) for part in ("weight", "bias")}
        if mlp != "vit":
            state |= {f"encoder.layer.{block}.layer_scale{i}.lambda1": (dim,) for i in (1, 2)}
    if mlp == "vit":
        state |= {"pooler.dense.weight": (dim, dim), "pooler.dense.bias": (dim,)}
    else:
        state["embeddings.mask_token"] = (1, dim)
    if registers:
        state["embeddings.register_tokens"] = (1, registers, dim)
    return drawn(state)


def hf_forward(state: State, images: Tensor, heads: int) -> Tensor:
    """Normalised tokens (B, 1 + registers + h * w, D), as `last_hidden_state`."""
    return _forward(
        images,
        heads,
        patches=pair(state, "embeddings.patch_embeddings.projection"),
        cls=state["embeddings.cls_token"],
        positions=state["embeddings.position_embeddings"],
        registers=state.get("embeddings.register_tokens"),
        blocks=[_hf_block(state, f"encoder.layer.{i}") for i in range(_depth(state, 2))],
        norm=pair(state, "layernorm"),
    )


def _hf_block(state: State, at: str) -> dict[str, tuple[Tensor, Tensor] | Tensor | None]:
    q, k, v = (pair(state, f"{at}.attention.attention.{name}") for name in ("query", "key", "value"))
    vit = f"{at}.layernorm_before.weight" in state
    swiglu = f"{at}.mlp.weights_in.weight" in state
    first, second = (
        ("intermediate.dense", "output.dense")
        if vit
        else ("mlp.weights_in", "mlp.weights_out")
        if swiglu
        else ("mlp.fc1", "mlp.fc2")
    )
    return {
        "norm1": pair(state, f"{at}.layernorm_before" if vit else f"{at}.norm1"),
        "norm2": pair(state, f"{at}.layernorm_after" if vit else f"{at}.norm2"),
        "qkv": (torch.cat([q[0], k[0], v[0]]), torch.cat([q[1], k[1], v[1]])),
        "proj": pair(state, f"{at}.attention.output.dense"),
        "first": pair(state, f"{at}.{first}"),
        "second": pair(state, f"{at}.{second}"),
        "swiglu": torch.tensor(1) if swiglu else None,
        "scale1": state.get(f"{at}.layer_scale1.lambda1"),
        "scale2": state.get(f"{at}.layer_scale2.lambda1"),
    }


def dinov2_state(
    dim: int, patch: int, hidden: int, swiglu: bool = False, registers: int = 0, depth: int = 1, grid: int = GRID
) -> State:
    """Random weights under the names of facebookresearch/dinov2."""
    state = {
        "cls_token": (1, 1, dim),
        "mask_token": (1, dim),
        "pos_embed": (1, 1 + grid**2, dim),
        "patch_embed.proj.weight": (dim, 3, patch, patch),
        "patch_embed.proj.bias": (dim,),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
    }
    mlp = {"mlp.w12": (2 * hidden, dim), "mlp.w3": (dim, hidden)}
    if not swiglu:
        mlp = {"mlp.fc1": (hidden, dim), "mlp.fc2": (dim, hidden)}
    for block in range(depth):
        for name, shape in ({"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim)} | mlp).items():
            state[f"blocks.{block}.{name}.weight"] = shape
            state[f"blocks.{block}.{name}.bias"] = shape[:1]
        for i in (1, 2):
            state[f"blocks.{block}.ls{i}.gamma"] = (dim,)
            state |= {f"blocks.{block}.norm{i}.{part}": (dim,) for part in ("weight", "bias")}
    if registers:
        state["register_tokens"] = (1, registers, dim)
    return drawn(state)


def dinov2_forward(state: State, images: Tensor, heads: int) -> Tensor:
    """Normalised tokens (B, 1 + registers + h * w, D)."""
    blocks = []
    for i in range(_depth(state, 1)):
        at, swiglu = f"blocks.{i}", f"blocks.{i}.mlp.w12.weight" in state
        blocks.append(
            {
                **{name: pair(state, f"{at}.{name}") for name in ("norm1", "norm2")},
                "qkv": pair(state, f"{at}.attn.qkv"),
                "proj": pair(state, f"{at}.attn.proj"),
                "first": pair(state, f"{at}.mlp.w12" if swiglu else f"{at}.mlp.fc1"),
                "second": pair(state, f"{at}.mlp.w3" if swiglu else f"{at}.mlp.fc2"),
                "swiglu": torch.tensor(1) if swiglu else None,
                "scale1": state[f"{at}.ls1.gamma"],
                "scale2": state[f"{at}.ls2.gamma"],
            }
        )
    return _forward(
        images,
        heads,
        patches=pair(state, "patch_embed.proj"),
        cls=state["cls_token"],
        positions=state["pos_embed"],
        registers=state.get("register_tokens"),
        blocks=blocks,
        norm=pair(state, "norm"),
    )


def as_training_checkpoint(state: State, chunks: int) -> State:
    """How a teacher leaves DINOv2's training: below `backbone.`, its blocks in chunks, with the heads."""
    per_chunk = -(-_depth(state, 1) // chunks)
    found: State = {"dino_head.mlp.0.weight": torch.ones(2, 2), "ibot_head.mlp.0.weight": torch.ones(2, 2)}
    for name, tensor in state.items():
        if name.startswith("blocks."):
            block = int(name.split(".")[1])
            name = f"blocks.{block // per_chunk}.{name.removeprefix('blocks.')}"
        found[f"backbone.{name}"] = tensor
    return found


def _forward(images, heads, patches, cls, positions, registers, blocks, norm) -> Tensor:
    x = F.conv2d(images, *patches, stride=patches[0].shape[-1]).flatten(2).transpose(1, 2)  # (B, h * w, D)
    x = torch.cat([cls.expand(len(x), -1, -1), x], 1) + positions
    if registers is not None:
        x = torch.cat([x[:, :1], registers.expand(len(x), -1, -1), x[:, 1:]], 1)
    for block in blocks:
        y = F.linear(_norm(x, block["norm1"]), *block["qkv"])  # (B, N, 3 D)
        q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in y.chunk(3, 2))  # (B, H, N, D / H)
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        y = F.linear((weights @ v).transpose(1, 2).flatten(2), *block["proj"])
        x = x + (y if block["scale1"] is None else y * block["scale1"])
        y = F.linear(_norm(x, block["norm2"]), *block["first"])
        if block["swiglu"] is None:
            y = F.gelu(y)
        else:
            gate, value = y.chunk(2, 2)
            y = F.silu(gate) * value
        y = F.linear(y, *block["second"])
        x = x + (y if block["scale2"] is None else y * block["scale2"])
    return _norm(x, norm)


def _norm(x: Tensor, layer: tuple[Tensor, Tensor]) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], *layer, eps=1e-6)


def pair(state: State, name: str) -> tuple[Tensor, Tensor]:
    return state[f"{name}.weight"], state[f"{name}.bias"]


def _depth(state: State, at: int) -> int:
    return 1 + max(int(name.split(".")[at]) for name in state if name.startswith(("encoder.layer.", "blocks.")))


def drawn(shapes: dict[str, tuple[int, ...]]) -> State:
    draw = torch.Generator().manual_seed(len(shapes))
    return {name: torch.randn(shape, generator=draw) * 0.3 for name, shape in shapes.items()}
