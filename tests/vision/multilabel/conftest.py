import numpy as np

from eva_vision.multilabel.predictions import LabelScores

LABELS = ("gland", "mucin", "never")


def made_up(noise: float = 1.0, runs: int = 2, n: int = 80, seed: int = 0) -> LabelScores:
    """Two samples a patient: a hard label, a share that is unknown now and then, and one that nobody has."""
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, (n, 3))
    targets = np.stack([truth[:, 0] > 0, np.round(1 / (1 + np.exp(-truth[:, 1])) * 7) / 7, np.zeros(n)], axis=1)
    targets[::5, 1] = np.nan
    odds = truth + noise * np.random.default_rng(seed + 1).normal(0, 1, (runs, n, 3))
    odds = odds.round(1).astype(np.float32)  # ties
    ids, groups = [f"s{i}" for i in range(n)], [f"p{i // 2}" for i in range(n)]
    return LabelScores("test", ids, groups, targets, odds, LABELS)
