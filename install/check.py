"""What stands in the way of an install, in one line, before anything is downloaded; and what will be downloaded.

Run by the Makefile as `PYTHON install/check.py VENV [cpu]`, first with the Python that makes the virtual environment
VENV, then with the one in it. Any Python 3 can read this file, so that one that is too old is told.
"""

import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

GB = 10**9
HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIZES = {"cuda": (3.3, 6.4), "cpu": (0.5, 1.6), "rest": (0.1, 0.3)}
"""GB to download, and on disk, as measured with torch 2.14; rest: where torch is there already."""


def main(argv):
    """Print what will be downloaded, or one line of what is missing; returns the exit code."""
    venv, torch = argv[0], (argv[1:] or [""])[0]
    inside = os.path.realpath(sys.prefix) == os.path.realpath(venv)
    build = kind(torch, inside)
    problem = (
        wrong_word(torch)
        or wrong_python(inside)
        or (no_pip(venv) if inside else no_venv())
        or full_disk(venv, SIZES[build])
        or (no_network() if inside else None)
    )
    if problem:
        sys.stderr.write(problem + "\n")
        return 1
    if inside:
        print(announcement(venv, build))
        sys.stdout.flush()
    return 0


def kind(torch, inside):
    """Name the row of SIZES: on Linux on x86_64 torch comes with CUDA, unless the CPU build is asked for."""
    if inside and has("torch") and has("torchvision"):
        return "rest"
    cuda = sys.platform == "linux" and platform.machine() == "x86_64" and torch != "cpu"
    return "cuda" if cuda else "cpu"


def has(module):
    """Whether a module is installed, without importing it."""
    import importlib.util

    return importlib.util.find_spec(module) is not None


def announcement(venv, build):
    """Describe what will be downloaded, and how large it is."""
    down, disk = SIZES[build]
    what = {"cuda": "torch for CUDA", "cpu": "torch for CPUs", "rest": "what is new beside torch"}[build]
    text = "Installing eva and {} into {}: about {} GB to download, {} GB on disk.".format(what, venv, down, disk)
    if build == "cuda":
        text += " `make demo TORCH=cpu` takes torch for CPUs: {} GB to download, {} GB on disk.".format(*SIZES["cpu"])
    return text


def wrong_word(torch):
    """Describe a TORCH that means nothing."""
    if torch in ("", "cpu"):
        return None
    return "Expected TORCH=cpu or no TORCH, but got TORCH={}. Without it torch comes from PyPI.".format(torch)


def bounds():
    """Read the lowest Python that works, and the lowest above it that does not, from pyproject.toml."""
    with io.open(os.path.join(HOME, "pyproject.toml"), encoding="utf-8") as file:
        found = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', file.read(), re.MULTILINE)
    return (3, int(found.group(1))), (3, int(found.group(2)))


def wrong_python(inside):
    """Describe a Python that is too old or too new, and name one on the path that is neither."""
    low, high = bounds()
    if low <= sys.version_info[:2] < high:
        return None
    names = ["python3.{}".format(minor) for minor in range(high[1] - 1, low[1] - 1, -1)]
    here = [name for name in names if shutil.which(name)]
    return "Expected Python 3.{} to 3.{}, but {} is {}. {}, then try again with PYTHON={}.".format(
        low[1],
        high[1] - 1,
        sys.executable,
        platform.python_version(),
        "Remove it with `make clean`" if inside else "Choose another" if here else "Install one",
        (here or names)[0],
    )


def no_venv():
    """Describe a Python without the modules that make virtual environments, as of Debian without python3-venv."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        return (
            "Expected the modules venv and ensurepip of {}, but got: {}. On Debian and Ubuntu: apt install {}".format(
                sys.executable, error, "python3.{}-venv".format(sys.version_info[1])
            )
        )
    return None


def no_pip(venv):
    """Describe a virtual environment that was left half made."""
    if has("pip"):
        return None
    return "Expected pip in {}, but there is none. Remove the folder with `make clean`, and try again.".format(venv)


def full_disk(venv, size):
    """Describe a disk without room for the environment, or for the downloads and pip's cache of them."""
    down, disk = size
    places = [(venv, disk), (tempfile.gettempdir(), down), (cache(), down)]
    needed = {}
    for path, gb in places:
        there = existing(path)
        first, before = needed.get(disk_of(there), (there, 0))
        needed[disk_of(there)] = (first, before + gb)
    for place, gb in needed.values():
        if free(place) < gb:
            return (
                "Expected {:.1f} GB free on the disk of {}, but it has {:.1f} GB. Make room; or choose other disks: "
                "VENV=FOLDER for the environment, TMPDIR and PIP_CACHE_DIR for downloads.".format(
                    gb, place, free(place)
                )
            )
    return None


def disk_of(folder):
    """Identify the disk that a folder is on."""
    return os.stat(folder).st_dev


def free(folder):
    """Count the free GB of the disk that a folder is on."""
    return shutil.disk_usage(folder).free / GB


def cache():
    """Name the folder where pip keeps downloads, or roughly where."""
    home = os.path.expanduser("~")
    default = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return os.environ.get("PIP_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.join(home, default)


def existing(path):
    """Find the folder itself, or the nearest above it that is there."""
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def no_network():
    """Describe a package index that pip does not reach; pip is asked itself, as it knows proxies and mirrors."""
    ask = [sys.executable, "-m", "pip", "--retries", "1", "--timeout", "30", "index", "versions", "hatchling"]
    done = subprocess.run(ask, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return None
    return "Expected a package index, but pip reaches none. Check the network, or what `pip config list` says"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
