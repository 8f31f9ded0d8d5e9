"""The stages of `bench/gpu.py`, in order of worth: each a module with TITLE, LIMIT_S, COLUMNS and ROWS."""

STAGES = {
    "a": "correctness",
    "b": "extraction",
    "c": "training",
    "d": "kernels",
    "e": "heads",
    "f": "tiles",
}
