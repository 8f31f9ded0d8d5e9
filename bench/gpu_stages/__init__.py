"""Stages of `bench/gpu.py`, in order of importance: each a module with TITLE, COLUMNS and ROWS."""

from typing import NamedTuple


class Stage(NamedTuple):
    """Stage: the module of its rows, and the seconds that they may take on a GPU."""

    module: str
    limit_s: int


STAGES = {
    "a": Stage("correctness", 104),
    "b": Stage("extraction", 100),
    "c": Stage("training", 165),
    "d": Stage("kernels", 40),
    "e": Stage("heads", 40),
    "f": Stage("tiles", 20),
}
