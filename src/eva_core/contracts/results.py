"""What results.json holds, with types: one dictionary a part, so that whoever reads one sees its fields.

A reader checks `schema` first; a file of another version or program is refused in one line.
"""

from typing import Any, Literal, NotRequired, TypedDict

from eva_core.contracts.metric import MetricFacts

SCHEMA = 3
"""Rises where a field changes its meaning or goes; a new field alone does not raise it."""

Interval = list[float]
"""Low and high."""


class Identity(TypedDict):
    """Whose score it is: results with the same identity compare."""

    model: str
    weights_sha256: str
    preprocess_sha256: str
    dataset: str
    dataset_sha256: str
    head: str
    protocol: str


class MetricRecord(TypedDict):
    """One metric on one split: by run, their mean and spread, and a 95 % interval over groups.

    `left_out` counts bootstrap draws in which the metric is not defined; `t95` is there with fewer than 20 groups.
    """

    mean: float | None
    std: float | None
    ci95: Interval | None
    left_out: NotRequired[int]
    t95: NotRequired[Interval | None]
    values: list[float | None]
    last: float | None


class SplitRecord(TypedDict):
    """One reported split; `interval` says what was drawn, `held_by_one` names classes of a single group."""

    n: int
    n_groups: int | None
    interval: str
    metrics: dict[str, MetricRecord]
    held_by_one: NotRequired[list[str]]


class Baseline(TypedDict):
    """What a null scores on the same splits."""

    splits: dict[str, SplitRecord]


class MainScore(MetricFacts):
    """The score by which a result is ranked, and the facts of its metric."""

    split: str
    metric: str
    mean: float | None
    std: float | None
    ci95: Interval | None
    selected_on: str


class Contamination(TypedDict):
    """Whether the model saw these slides; `unseen` is the main metric on the samples it did not see, with `n`."""

    kind: Literal["declared", "none declared", "unknown", "exact"]
    n_seen: NotRequired[int]
    unseen: NotRequired[dict[str, Any]]


class Confounds(TypedDict):
    """How embeddings mix class and site; see `eva_core.evaluation.site_bias`."""

    robustness_index: float | None
    k: int
    class_accuracy: float
    site_accuracy: float
    sites: int


class Calibration(TypedDict):
    """Calibration before and after a temperature for each run, fitted on `n` images that were held out of train.

    `splits` has, by split, then by `before` and `after`, records of `nll`, `ece` and `brier`; it is empty where a run
    has no temperature.
    """

    n: int
    temperatures: list[float | None]
    splits: dict[str, dict[str, dict[str, MetricRecord]]]


class Picture(TypedDict):
    """An image that a board shows of a result: best, median or worst, with its score; `file` is below the folder."""

    which: str
    file: str
    id: str
    score: float


class Magnification(TypedDict):
    """Micrometres per pixel of the files, and of what reached the model."""

    native: float | None
    reached: float | None


class Cost(TypedDict):
    """Seconds of embedding and fitting, images in a second, and the most memory held, in MB."""

    embed_s: float
    images_per_s: float
    fit_s: float
    peak_rss_mb: NotRequired[float]


class Summary(TypedDict):
    """The main score, how it was selected, and every reported split."""

    main: MainScore
    selection: str
    splits: dict[str, SplitRecord]


class TaskRecord(Summary):
    """The part of results.json that a kind of task decides; one may add fields of its own."""

    baselines: dict[str, Baseline]
    contamination: Contamination
    confounds: Confounds | None
    mpp: Magnification
    selected: list[dict[str, Any]]
    refit: float | None
    skipped: list[str]
    untrained: dict[str, dict[str, int]]
    copies: dict[str, int]
    turned_copies: dict[str, int] | None
    report: dict[str, Any]
    cost: Cost


class ClassificationRecord(TaskRecord):
    """That of a classification; `calibration` is None where a reported split selects."""

    calibration: Calibration | None


class FileRecord(TypedDict):
    """Bytes and digest of a file of the result."""

    size: int
    sha256: str


class Results(TaskRecord):
    """All of results.json."""

    schema: int
    key: str
    task: str
    identity: Identity
    settings: dict[str, Any]
    weights: dict[str, Any]
    synthetic: bool
    card: dict[str, Any]
    environment: dict[str, str]
    calibration: NotRequired[Calibration | None]
    files: dict[str, FileRecord]
    sha256: str
