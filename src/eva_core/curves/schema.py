"""What curve.json holds, with types. Plain JSON."""

from typing import TypedDict

SCHEMA = 1
"""Rises where a field changes its meaning or goes."""


class ShareFacts(TypedDict):
    """A share of train: how many samples and groups each draw has; `n_groups` is null where no group is known."""

    share: float
    n: list[int]
    n_groups: list[int] | None


class CurvePoint(TypedDict):
    """The score of a model at a share of train.

    `values` has the mean over runs of each draw, null where nothing could be fitted; `std` is their spread. `ci95`
    speaks of one draw and one run on new groups; `t95` is there with fewer than 20 groups. `nulls` are means over draws
    by name. `left_out` says why draws are missing, each reason once.
    """

    share: float
    values: list[float | None]
    mean: float | None
    std: float | None
    ci95: list[float] | None
    t95: list[float] | None
    nulls: dict[str, float | None]
    left_out: list[str]


class ModelCurve(TypedDict):
    """The curve of one model."""

    model: str
    weights_sha256: str
    points: list[CurvePoint]


class Between(TypedDict):
    """Difference of two models, A - B by their places in `models`, at one share, on the same draws and samples.

    `p_holm` is corrected for all pairs and shares; `told` says whether it and the intervals tell the two apart.
    """

    a: int
    b: int
    share: float
    difference: float | None
    ci95: list[float] | None
    t95: list[float] | None
    p: float | None
    p_holm: float | None
    told: bool


class Curve(TypedDict):
    """All of curve.json, but for its seal."""

    schema: int
    dataset: str
    dataset_sha256: str
    synthetic: bool
    task: str
    head: str
    protocol: str
    split: str
    metric: str
    higher_is_better: bool
    chance: float | None
    n_reported: int
    n_groups_reported: int | None
    draws: int
    seed: int
    shares: list[ShareFacts]
    models: list[ModelCurve]
    between: list[Between]
