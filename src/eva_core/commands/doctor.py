"""`eva doctor`: what a bug report needs, and what is wrong with the installation."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

from eva_core import registry
from eva_core.errors import UsageError
from eva_core.stale_install import stale_line

PACKAGES = ("eva-pathology", "torch", "torchvision", "timm", "lightning", "torchmetrics", "jsonargparse", "h5py")


def main(argv: list[str]) -> int:
    """Print the report; returns 1 where a plugin is broken."""
    if argv in (["-h"], ["--help"]):
        print("usage: eva doctor\n\nVersions, devices, cache, tokens and plugins.")
        return 0
    if argv:
        raise UsageError(f"Expected `eva doctor` alone, but got {' '.join(argv)!r}.")
    stale = stale_line()
    broken = [*([stale] if stale else []), *_broken_plugins()]
    for title, lines in (
        ("versions", [f"python {platform.python_version()}", *map(_version, PACKAGES)]),
        ("devices", _devices()),
        ("cache", _cache()),
        ("tokens", _tokens()),
        ("plugins", broken or ["every registered name imports"]),
    ):
        print(title)
        print("\n".join(f"  {line}" for line in lines))
    return 1 if broken else 0


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} is not installed"


def _devices() -> list[str]:
    import torch

    from eva_core.accelerator import device_name, gpus

    cpu = f"cpu: {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    names = [f"cuda:{i}: {device_name(torch.device('cuda', i))}" for i in range(gpus())]
    return [cpu, *(names or ["cuda: none"]), *(["mps"] if torch.backends.mps.is_available() else [])]


def _cache() -> list[str]:
    from eva_core.files.cache import cache_root

    root = cache_root()
    nearest = next(p for p in (root, *root.parents) if p.exists())
    stores = list(root.rglob("*.h5"))
    held = sum(p.stat().st_size for p in stores) / 1e9
    free = shutil.disk_usage(nearest).free / 1e9
    return [f"{root} (EVA_CACHE): {len(stores)} stores, {held:.2f} GB; {free:.0f} GB free"]


def _tokens() -> list[str]:
    from huggingface_hub import get_token

    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", "")
    return [
        "Hugging Face token: " + ("found" if get_token() else "none (gated models need one: HF_TOKEN)"),
        *(["HF_HUB_OFFLINE is set: only cached weights load"] if offline else []),
    ]


def _broken_plugins() -> list[str]:
    """One line for each name that does not import or is claimed twice."""
    lines = []
    for names in registry.every_group():
        for name in dict.fromkeys(e.name for e in names.entries()):
            try:
                names.load(name)
            except UsageError as error:
                lines.append(f"{names.group}: {error}")
    return lines
