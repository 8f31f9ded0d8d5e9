"""Stages of `bench/gpu.py`, in order of importance: each a module with TITLE, COLUMNS and ROWS."""

from typing import NamedTuple


class Stage(NamedTuple):
    """Stage: the module of its rows, and the seconds that they may take on a GPU."""

    module: str
    limit_s: int


STAGES = {
    "a": Stage("correctness", 104),
    "b": Stage("extraction", 85),
    "c": Stage("training", 175),
    "d": Stage("kernels", 50),
    "e": Stage("heads", 36),
    "f": Stage("tiles", 20),
}
