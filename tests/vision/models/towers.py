"""CONCH, KEEP, BEiT-3 and DINOv3 in plain torch, under their publishers' names: what conversions are held against."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.vision.models.forward_passes import drawn, pair

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


def conch_state(width: int, hidden: int, dim: int = 512) -> State:
    """CONCH: the image half at 448 px, what it has for captions and retrieval, and some of what it has for text."""
    pooling = {
        "query": (1, dim),
        "attn.q_proj_weight": (dim, dim),
        "attn.k_proj_weight": (dim, width),
        "attn.v_proj_weight": (dim, width),
        "attn.in_proj_bias": (3 * dim,),
        **_linear("attn.out_proj", dim, dim),
        **_norm_shapes("ln_q", dim),
        **_norm_shapes("ln_k", width),
    }
    image = {
        **_below("trunk", _vit(width, hidden, grid=28)),
        **_below("attn_pool_contrast", pooling),
        **_norm_shapes("ln_contrast", dim),
        "proj_contrast": (dim, dim),
        "attn_pool_caption.query": (4, width),
        **_norm_shapes("ln_caption", width),
    }
    return drawn({**_below("visual", image), "text.cls_emb": (width,), "logit_scale": ()})


def conch_v1_5_state(width: int, hidden: int, dim: int = 768) -> State:
    """CONCH v1.5, with the positions of a 224 px image."""
    pooling = {
        "query": (1, dim),
        "to_q.weight": (dim, dim),
        "to_kv.weight": (2 * dim, width),
        "to_out.weight": (dim, dim),
        **_norm_shapes("ln_q", dim),
        **_norm_shapes("ln_k", width),
    }
    trunk = _vit(width, hidden, grid=14, scale="gamma")
    return drawn(
        {**_below("trunk", trunk), **_below("attn_pool_contrast", pooling), **_norm_shapes("ln_contrast", dim)}
    )


def keep_state(width: int, hidden: int, dim: int = 768) -> State:
    """KEEP: its image half, and some of what it has for text."""
    head = {**_linear("0", dim, width), **_linear("2", dim, dim)}
    image = {**_below("visual", _vit(width, hidden, grid=14, scale="weight")), **_below("visual_head", head)}
    return drawn({**image, "text.embeddings.word_embeddings.weight": (2, 2), "logit_scale": ()})


def beit3_state(width: int, hidden: int, grid: int = 24, depth: int = 1) -> State:
    """MUSK: a BEiT-3 with its halves A for images and B for text, and the heads beside it."""
    shapes: Shapes = {
        "text_embed.weight": (2, width),
        "vision_embed.mask_token": (1, 1, width),
        "vision_embed.cls_token": (1, 1, width),
        "vision_embed.proj.weight": (width, 3, 16, 16),
        "vision_embed.proj.bias": (width,),
        "encoder.embed_positions.A.weight": (grid**2 + 3, width),
        "encoder.embed_positions.B.weight": (4, width),
    }
    for half in "AB":
        for i in range(depth):
            at = f"encoder.layers.{i}"
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes |= _linear(f"{at}.self_attn.{name}.{half}", width, width)
            for name in ("self_attn.inner_attn_ln", "self_attn_layer_norm", "final_layer_norm"):
                shapes |= _norm_shapes(f"{at}.{name}.{half}", width)
            shapes |= _linear(f"{at}.ffn.{half}.fc1", hidden, width) | _linear(f"{at}.ffn.{half}.fc2", width, hidden)
            shapes |= _norm_shapes(f"{at}.ffn.{half}.ffn_layernorm", hidden)
        shapes |= _norm_shapes(f"encoder.layer_norm.{half}", width)
    heads = {"vision_head.weight": (width, width), "language_head.weight": (width, width), "logit_scale": ()}
    return drawn({**_below("beit3", shapes), **heads})


def beit3_forward(state: State, images: Tensor, heads: int) -> Tensor:
    """Normalised tokens (B, 1 + h * w, D) of the half for images."""
    state = {name.removeprefix("beit3."): tensor for name, tensor in state.items()}

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *pair(state, name), eps=1e-5)

    x = F.conv2d(images, *pair(state, "vision_embed.proj"), stride=16).flatten(2).transpose(1, 2)
    x = torch.cat([state["vision_embed.cls_token"].expand(len(x), -1, -1), x], 1)
    x = x + state["encoder.embed_positions.A.weight"][2:]
    for i in range(1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layers."))):
        at = f"encoder.layers.{i}"
        y = norm(x, f"{at}.self_attn_layer_norm.A")
        q, k, v = (
            F.linear(y, *pair(state, f"{at}.self_attn.{part}_proj.A")).unflatten(2, (heads, -1)).transpose(1, 2)
            for part in "qkv"
        )
        y = ((q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
        y = norm(y, f"{at}.self_attn.inner_attn_ln.A")
        x = x + F.linear(y, *pair(state, f"{at}.self_attn.out_proj.A"))
        y = F.gelu(F.linear(norm(x, f"{at}.final_layer_norm.A"), *pair(state, f"{at}.ffn.A.fc1")))
        x = x + F.linear(norm(y, f"{at}.ffn.A.ffn_layernorm"), *pair(state, f"{at}.ffn.A.fc2"))
    return norm(x, "encoder.layer_norm.A")


def dinov3_state(width: int, hidden: int, depth: int = 1, heads: int = 3) -> State:
    """GenBio-PathFM: a DINOv3 of one channel, with SwiGLU and 4 storage tokens."""
    shapes: Shapes = {
        "cls_token": (1, 1, width),
        "storage_tokens": (1, 4, width),
        "rope_embed.periods": (width // heads // 4,),
        "patch_embed.proj.weight": (width, 1, 16, 16),
        "patch_embed.proj.bias": (width,),
        **_norm_shapes("norm", width),
    }
    for i in range(depth):
        at = f"blocks.{i}"
        shapes |= {f"{at}.attn.qkv.weight": (3 * width, width), **_linear(f"{at}.attn.proj", width, width)}
        shapes |= _linear(f"{at}.mlp.w1", hidden, width) | _linear(f"{at}.mlp.w2", hidden, width)
        shapes |= _linear(f"{at}.mlp.w3", width, hidden)
        shapes |= {f"{at}.ls1.gamma": (width,), f"{at}.ls2.gamma": (width,)}
        shapes |= _norm_shapes(f"{at}.norm1", width) | _norm_shapes(f"{at}.norm2", width)
    return drawn(shapes)


def dinov3_forward(state: State, images: Tensor, heads: int) -> Tensor:
    """Normalised tokens (B, 5 + h * w, D) of images (B, 1, H, W); positions by the formula, in float32."""

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *pair(state, name), eps=1e-6)

    x = F.conv2d(images, *pair(state, "patch_embed.proj"), stride=16)
    sin, cos = _turns(*x.shape[2:], state["cls_token"].shape[-1] // heads)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state[name].expand(len(x), -1, -1) for name in ("cls_token", "storage_tokens")] + [x], 1)
    for i in range(1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))):
        at = f"blocks.{i}"
        y = F.linear(norm(x, f"{at}.norm1"), state[f"{at}.attn.qkv.weight"])
        q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in y.chunk(3, 2))
        q, k = (torch.cat([part[:, :, :5], _turned(part[:, :, 5:], sin, cos)], 2) for part in (q, k))
        y = ((q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + F.linear(y, *pair(state, f"{at}.attn.proj")) * state[f"{at}.ls1.gamma"]
        y = norm(x, f"{at}.norm2")
        y = F.silu(F.linear(y, *pair(state, f"{at}.mlp.w1"))) * F.linear(y, *pair(state, f"{at}.mlp.w2"))
        x = x + F.linear(y, *pair(state, f"{at}.mlp.w3")) * state[f"{at}.ls2.gamma"]
    return norm(x, "norm")


def _turns(h: int, w: int, size: int) -> tuple[Tensor, Tensor]:
    """Sines and cosines (h * w, size) of the angles of a grid, with base 100 and coordinates from -1 to 1."""
    rows, columns = ((torch.arange(n) + 0.5) / n * 2 - 1 for n in (h, w))
    periods = torch.tensor([100.0 ** (4 * i / size) for i in range(size // 4)])
    angles = [2 * math.pi * axis[:, None] / periods for axis in (rows, columns)]  # (h, size / 4), (w, size / 4)
    grid = torch.cat([angles[0][:, None].expand(h, w, -1), angles[1][None].expand(h, w, -1)], 2).flatten(0, 1)
    grid = torch.cat([grid, grid], 1)
    return grid.sin(), grid.cos()


def _turned(x: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def _vit(width: int, hidden: int, grid: int, scale: str = "") -> Shapes:
    """A ViT of one block under timm's names; `scale` is what its layer scales are called."""
    shapes: Shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + grid**2, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
        **_linear("blocks.0.attn.qkv", 3 * width, width),
        **_linear("blocks.0.attn.proj", width, width),
        **_linear("blocks.0.mlp.fc1", hidden, width),
        **_linear("blocks.0.mlp.fc2", width, hidden),
    }
    for name in ("blocks.0.norm1", "blocks.0.norm2", "norm"):
        shapes |= _norm_shapes(name, width)
    return shapes | ({f"blocks.0.ls{i}.{scale}": (width,) for i in (1, 2)} if scale else {})


def _linear(name: str, out: int, inner: int) -> Shapes:
    return {f"{name}.weight": (out, inner), f"{name}.bias": (out,)}


def _norm_shapes(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _below(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}
