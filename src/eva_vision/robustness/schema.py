"""What robustness.json holds; readers check its schema number."""

from typing import NotRequired, TypedDict

SCHEMA = 1


class Value(TypedDict):
    """A number with its 95 % interval: by bootstrap of groups, and below 20 of them by t; null where undefined."""

    value: float | None
    ci95: list[float] | None
    t95: NotRequired[list[float] | None]


class Published(TypedDict):
    """A published value of the same model: `delta` is ours less theirs where the protocol string is the same."""

    metric: str
    value: float
    protocol: str
    ours: str
    delta: float | None


class SiteScore(TypedDict):
    """The score on the images of one site by a head that was fitted on those of all others; null with the reason."""

    n: int
    n_groups: int
    value: float | None
    ci95: list[float] | None
    reason: str


class LeftOut(TypedDict):
    """Scores of each site when it is left out.

    Attributes:
        sites: By name.
        mean: Mean over the sites that have a score.
        worst: The site of the worst score.
        spread: Difference of the best and the worst score.
    """

    head: str
    protocol: str
    metric: str
    sites: dict[str, SiteScore]
    mean: float | None
    worst: str | None
    spread: float | None


class Drops(TypedDict):
    """What probes lose as class and site are correlated in their training set.

    Attributes:
        published_sets: Whether the training sets are those of the published benchmark.
        v: Cramér's V of class and site in each training set.
        accuracy: Mean balanced accuracy by training set, on held-out groups (`in`) and on other sites (`out`).
        values: `apd_in`, `nipd_in`, `apd_out`, `nipd_out`; intervals are over the resamplings.
    """

    resamplings: int
    published_sets: bool
    v: list[float]
    accuracy: dict[str, list[float]]
    values: dict[str, Value]


class ModelRecord(TypedDict):
    """What is measured of one model.

    Attributes:
        weights_sha256: Hash of its weights.
        preprocess: Title of the protocol that decides preprocessing, pooling and precision.
        k: Neighbours of RI and MaRI.
        tau: Temperature of MaRI; null where it has none.
        support: Share of the images with a neighbour that shares exactly one of class and site.
        class_accuracy: Balanced accuracy of the class by the k neighbours.
        site_accuracy: Balanced accuracy of the site by the same neighbours.
        values: By metric.
        notes: What a reader must know of them.
        left_out: Scores of each site when it is left out, where that was asked for.
        drops: What probes lose, where that was asked for and can be known.
    """

    model: str
    weights_sha256: str
    preprocess: str
    dim: int
    k: int
    tau: float | None
    support: float
    class_accuracy: float
    site_accuracy: float
    values: dict[str, Value]
    published: list[Published]
    notes: list[str]
    left_out: NotRequired[LeftOut]
    drops: NotRequired[Drops]


class Robustness(TypedDict):
    """The content of robustness.json.

    Attributes:
        n: Images on which neighbours are looked for.
        parts: Parts of them in which neighbours are looked for by themselves.
        interval: What is drawn for the intervals.
        sites: Images by site and class.
        notes: What holds for all models.
    """

    schema: int
    dataset: str
    synthetic: bool
    n: int
    n_groups: int
    parts: int
    interval: str
    sites: dict[str, dict[str, int]]
    models: list[ModelRecord]
    notes: list[str]


REGISTERED_SCHEMA = 1


class Of(TypedDict):
    """Median and quartiles over pairs of slides, which are not independent: no interval."""

    median: float
    quartiles: list[float]


class Pairs(TypedDict):
    """What is measured across pairs of slides."""

    n: int
    cosine: Of
    top10: Of


class RegisteredRecord(TypedDict):
    """What is measured of one model on registered slides.

    Attributes:
        score: Mean of four medians: cosine of all pairs, top-10 accuracy across scanners, stains and both.
        pairs: By what differs: `scanner`, `stain`, `both`, and `all`.
    """

    model: str
    weights_sha256: str
    preprocess: str
    dim: int
    score: float | None
    pairs: dict[str, Pairs]
    published: list[Published]
    notes: list[str]


class Registration(TypedDict):
    """The content of registration.json."""

    schema: int
    dataset: str
    synthetic: bool
    slides: int
    tiles: int
    stains: list[str]
    scanners: list[str]
    models: list[RegisteredRecord]
