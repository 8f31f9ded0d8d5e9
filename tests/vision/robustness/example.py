"""Embeddings whose class, site and slide pull them to planted centres."""

import numpy as np
import pandas as pd

from eva_vision.robustness.typed_neighbours import Labels


def planted(
    seed: int = 0, n: int = 600, classes: int = 3, sites: int = 3, slides: int = 4, dim: int = 24, pull: float = 1.0
) -> tuple[np.ndarray, Labels]:
    """Embeddings (N, D) and labels: `slides` slides of each class at each site, which pull by half as much."""
    rng = np.random.default_rng(seed)
    slide = np.arange(n) % (classes * sites * slides)
    label, site = slide % classes, slide // classes % sites
    centres = [rng.normal(size=(size, dim)) for size in (classes, sites, classes * sites * slides)]
    x = rng.normal(size=dim) + centres[0][label] + pull * centres[1][site] + centres[2][slide] / 2
    return (x + rng.normal(size=(n, dim))).astype(np.float32), Labels(label, site, slide)


def manifest(labels: Labels) -> pd.DataFrame:
    """The labels as croma takes them; classes are numbered by first appearance there, and here in ascending order."""
    n = len(labels.classes)
    ids = [str(i) for i in range(n)]
    columns = {"label": labels.classes, "center": labels.sites, "group_id": labels.groups}
    return pd.DataFrame({"sample_id": ids, "image_path": ids, **{k: v.astype(str) for k, v in columns.items()}})
