"""Install torch and torchvision without CUDA, and try whether the two work together.

Run by `make demo TORCH=cpu` as `VENV/bin/python install/cpu_torch.py INDEX`.
"""

import re
import subprocess
import sys
from pathlib import Path

TRY = "import torch, torchvision; torchvision.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)"
"""Fails where torchvision was built for another torch than the one that is here."""


def requirements() -> list[str]:
    """Read what eva asks of torch and torchvision from pyproject.toml."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    return re.findall(r'^    "((?:torch|torchvision)>=[^"]*)",$', text, re.MULTILINE)


def main(index: str) -> int:
    """Take both from one index, so that they fit; returns the exit code."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--index-url", index]
    if subprocess.run([*pip, *requirements()]).returncode:
        sys.stderr.write(f"Expected torch and torchvision for CPUs in {index}. Try again, or without TORCH=cpu.\n")
        return 1
    tried = subprocess.run([sys.executable, "-c", TRY], capture_output=True, text=True)
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        sys.stderr.write(
            f"Expected torchvision to work with torch for CPUs, but got: {reason}. `make clean`, then omit TORCH.\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
